/** A session over WebSockets, in browsers and Node: connects, resumes, follows Redirects, answers as promises.
 *
 *     connecting --Welcome--> open --lost--> away --Welcome--> open     (the same session, or a new one)
 *                                              └--in vain, not to come back--> closed
 *
 * What the server says reaches listeners in the order in which it came. */

import { Backoff } from "./backoff.js";
import { ClientCore, type Update } from "./core.js";
import { type EntityListener, EntityWatch } from "./entities.js";
import { CommandFailed, Disconnected, NotMatched, Refused, SessionLost, TickwireError } from "./errors.js";
import {
  type GoodbyeMessage,
  type JoinedMessage,
  type MatchStatusMessage,
  type MatchWish,
  type RedirectMessage,
  type ReplyMessage,
  SUBPROTOCOL,
  type WelcomeMessage,
  type Wish,
} from "./messages.js";
import { decode, type Plain } from "./msgpack.js";
import type { World } from "./world.js";

const HELLO_MS_MAX = 10_000;
const ANSWER_MS_MAX = 15_000;
const RECONNECT_MS_MAX = 60_000;
const REDIRECTS_MAX = 5;
const ASK_AGAIN_MS = 500;
/** Closes a connection and leaves the session to be resumed: browsers allow 1000 and 3000 to 4999 only. */
const RECONNECT_CODE = 4000;

/** As much of a WebSocket as is used; Node's package `ws` has it, too. */
export interface Socket {
  binaryType: string;
  readonly readyState: number;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(data: Uint8Array): void;
  close(code?: number, reason?: string): void;
}

export interface Options {
  /** Who the player is; a function is asked for a fresh one at every connection. */
  readonly token?: string | (() => string | Promise<string>);
  /** The game's version, for the server's logs. */
  readonly build?: string;
  /** For how long a lost connection is tried again; 0: never. */
  readonly reconnectMs?: number;
  /** Makes a WebSocket; the platform's own when it is not given. */
  readonly socket?: (url: string, subprotocol: string) => Socket;
  /** A monotonic clock, milliseconds. */
  readonly now?: () => number;
}

/** What may be listened to, and what is told. */
export interface Events {
  /** The world has moved by a tick, or some. */
  state: { tick: number; isKeyframe: boolean };
  /** The room said something. */
  event: { name: string; payload: Plain };
  joined: JoinedMessage;
  /** The seat is gone. */
  left: { reason: string };
  acknowledged: { seq: number; tick: number };
  match: MatchStatusMessage;
  /** The connection was lost; it is tried again. */
  away: { reason: string };
  /** There is a connection again; `isSameSession`: as if nothing had been. */
  back: { isSameSession: boolean };
  /** A round trip was measured. */
  pong: { rttMs: number; clockOffsetMs: number };
  refused: Refused;
  closed: Disconnected;
}

type Listener<K extends keyof Events> = (value: Events[K]) => void;
type State = "connecting" | "open" | "away" | "closed";

interface Waiting {
  /** What was asked. */
  readonly data: Uint8Array;
  /** Whether the answer follows by itself on a connection that begins so; else it is asked again. */
  readonly isUnderWay: (welcome: WelcomeMessage) => boolean;
  /** Gives what ends the wait, or null when this says nothing of it. */
  hear(update: Update): { value?: unknown; error?: Error } | null;
  resolve(value: any): void;
  reject(error: Error): void;
  timer: ReturnType<typeof setTimeout>;
}

/** An open session.
 *
 * @throws Disconnected, Refused. */
export async function connect(url: string, options: Options = {}): Promise<Client> {
  const client = new Client(url, options);
  await client.open();
  return client;
}

export class Client {
  readonly core = new ClientCore();
  state: State = "connecting";
  rttMs = NaN;
  /** The server's clock, UTC in milliseconds, is ours and this. */
  clockOffsetMs = NaN;
  resumes = 0;
  sessionsLost = 0;
  bytesReceived = 0;

  private readonly listeners = new Map<keyof Events, Set<(value: any) => void>>();
  private readonly waiting = new Set<Waiting>();
  private socket: Socket | null = null;
  private goodbye: GoodbyeMessage | null = null;
  private lastError: Refused | null = null;
  private heartbeat: ReturnType<typeof setInterval> | undefined;
  private readonly now: () => number;
  private readonly home: string;
  private hasMoved = false;

  constructor(
    private url: string,
    private readonly options: Options,
  ) {
    this.now = options.now ?? (() => performance.now());
    this.home = url;
  }

  /** What was told of the room.
   *
   * @throws TickwireError: in no room. */
  get world(): World {
    if (!this.core.world) throw new TickwireError("the client is in no room");
    return this.core.world;
  }

  get room(): JoinedMessage | null {
    return this.core.joined;
  }

  get address(): string {
    return this.url;
  }

  /** Listens; gives what ends that. */
  on<K extends keyof Events>(name: K, listener: Listener<K>): () => void {
    const known = this.listeners.get(name) ?? new Set();
    this.listeners.set(name, known.add(listener));
    return () => known.delete(listener);
  }

  /** Watches a table of every room that is joined from now on: who enters, changes and leaves. Gives what ends that.
   *
   * @param fields: those whose change counts. */
  entities(table: string, fields: readonly string[], listener: EntityListener): () => void {
    const watch = new EntityWatch(table, fields, listener);
    const ends = [
      this.on("state", () => this.core.world && watch.heard(this.core.world)),
      this.on("left", () => watch.end()),
    ];
    return () => ends.forEach((end) => end());
  }

  // -- what a player does ---------------------------------------------------------------------------------

  /** Takes a seat, wherever there is one: follows Redirects.
   *
   * @throws Refused, Disconnected. */
  async join(roomType: string, wish: Wish = {}): Promise<JoinedMessage> {
    return this.takeSeat(this.core.join(roomType, wish), wish.options);
  }

  /** Waits in a queue until a match is found, and takes the seat in it.
   *
   * @throws NotMatched, Refused, Disconnected. */
  async match(mode: string, wish: MatchWish = {}, timeoutMs = 120_000): Promise<JoinedMessage> {
    const found = await this.ask<RedirectMessage>(this.core.matchRequest(mode, wish), timeoutMs, (update) => {
      if (update.type === "redirected" && !update.redirect.isResume) return { value: update.redirect };
      if (update.type === "match" && (update.status.state === "cancelled" || update.status.state === "timed_out")) {
        return { error: new NotMatched(`${update.status.state}: ${update.status.reason}`) };
      }
      return update.type === "refused" ? { error: new Refused(update.error) } : null;
    });
    if (this.core.world) await this.leave();
    const data = await this.follow(found, wish.options);
    if (!data) throw new NotMatched("the shard of the match cannot be reached");
    return this.takeSeat(data, wish.options);
  }

  /** Waits in the queue no more. */
  cancelMatch(): void {
    this.send(this.core.matchCancel());
  }

  /** Gives the seat back. */
  async leave(): Promise<void> {
    await this.ask<null>(this.core.leave(), ANSWER_MS_MAX, (update) => (update.type === "left" ? { value: null } : null));
  }

  /** A wish for the simulation, in the game's units; what is not given is zero. Gives its number. */
  input(values: Readonly<Record<string, number>>): number {
    const { seq, data } = this.core.input(values);
    this.send(data);
    return seq;
  }

  /** A request that is answered exactly once, whatever happens to the connection.
   *
   * @throws CommandFailed, SessionLost, Disconnected. */
  async command(name: string, payload: unknown = null, timeoutMs = ANSWER_MS_MAX): Promise<Plain> {
    const { id, data } = this.core.command(name, payload);
    try {
      const reply = await this.ask<ReplyMessage>(data, timeoutMs, (update) => {
        if (update.type === "reply" && update.reply.id === id) return this.heardReply(update.reply);
        const isLost = (update.type === "welcomed" && !update.hasResumed) || update.type === "left";
        return isLost ? { error: new SessionLost(`the seat was lost before the room answered ${name}`) } : null;
      }, () => true); // the core asks again
      if (!reply.ok) throw new CommandFailed(reply.error, reply.message);
      return decode(reply.payload);
    } finally {
      this.core.giveUp(id);
    }
  }

  /** An answer that decides nothing is asked for again. */
  private heardReply(reply: ReplyMessage): { value: ReplyMessage } | null {
    if (reply.ok || reply.error !== "UNAVAILABLE") return { value: reply };
    setTimeout(() => {
      const data = this.core.unansweredCommand(reply.id);
      if (data) this.send(data);
    }, ASK_AGAIN_MS);
    return null;
  }

  /** The session ends. */
  close(): void {
    if (this.state === "closed") return;
    this.closeWith(new Disconnected("closed by the client"));
  }

  /** Loses the connection, as a bad network does; the session is resumed. For demonstrations and tests. */
  drop(): void {
    this.socket?.close(4000, "dropped");
  }

  // -- seats ----------------------------------------------------------------------------------------------

  private async takeSeat(first: Uint8Array, options: Wish["options"]): Promise<JoinedMessage> {
    let data = first;
    for (let hops = 0; hops <= REDIRECTS_MAX; hops++) {
      const answer = await this.ask<JoinedMessage | RedirectMessage>(data, ANSWER_MS_MAX, (update) => {
        if (update.type === "joined") return { value: update.joined };
        if (update.type === "redirected" && !update.redirect.isResume) return { value: update.redirect };
        return update.type === "refused" ? { error: new Refused(update.error) } : null;
      }, (welcome) => welcome.isJoining || welcome.roomId !== "");
      if (answer.type === "joined") return answer;
      data = (await this.follow(answer, options)) ?? first;
    }
    throw new TickwireError(`redirected more than ${REDIRECTS_MAX} times`);
  }

  /** Goes where a Redirect says; gives the Join that is to be sent there. Null: that cannot be reached, and the client is
   * where it began, to ask there again. */
  private async follow(redirect: RedirectMessage, options: Wish["options"]): Promise<Uint8Array | null> {
    if (redirect.url && redirect.url !== this.url) {
      this.checkScheme(redirect.url);
      this.core.forgetSession();
      this.detach("redirected");
      if (!(await this.isReached(redirect.url))) return null;
    }
    const { ticket, roomName } = redirect;
    return this.core.join(redirect.roomType, { ticket, name: roomName, ...(options ? { options } : {}) });
  }

  /** @throws Disconnected, Refused: not even where it began. */
  private async isReached(url: string): Promise<boolean> {
    try {
      this.url = url;
      await this.connectOnce();
      return true;
    } catch {
      this.url = this.home; // some gateways refuse in ways of their own; whatever it is, the door is open
    }
    try {
      await this.connectOnce();
      return false;
    } catch (error) {
      this.closeWith(error as TickwireError);
      throw error;
    }
  }

  private checkScheme(url: string): void {
    if (this.url.startsWith("wss:") && !url.startsWith("wss:")) {
      throw new TickwireError(`redirected to ${url}: the token is not sent over a plain connection`);
    }
  }

  /** Sends, and waits for what ends the wait. What was under way when the connection was lost is sent again. */
  private ask<T>(
    data: Uint8Array,
    timeoutMs: number,
    hear: Waiting["hear"],
    isUnderWay: Waiting["isUnderWay"] = () => false,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.state === "closed") {
        reject(new Disconnected("the session is closed", this.goodbye));
        return;
      }
      const timer = setTimeout(() => this.settle(waiting, { error: new TickwireError("no answer in time") }), timeoutMs);
      const waiting: Waiting = { data, hear, isUnderWay, resolve, reject, timer };
      this.waiting.add(waiting);
      this.send(data);
    });
  }

  private settle(waiting: Waiting, found: { value?: unknown; error?: Error }): void {
    if (!this.waiting.delete(waiting)) return;
    clearTimeout(waiting.timer);
    if (found.error) waiting.reject(found.error);
    else waiting.resolve(found.value);
  }

  // -- the connection -------------------------------------------------------------------------------------

  /** Connects for the first time.
   *
   * @throws Disconnected, Refused. */
  async open(): Promise<void> {
    await this.connectOnce();
  }

  private async connectOnce(): Promise<void> {
    const { token } = this.options;
    const shown = typeof token === "function" ? await token() : (token ?? "");
    const make = this.options.socket ?? ((url: string, protocol: string) => new WebSocket(url, protocol) as Socket);
    await new Promise<void>((resolve, reject) => {
      const socket = make(this.url, SUBPROTOCOL);
      socket.binaryType = "arraybuffer";
      this.socket = socket;
      this.goodbye = this.lastError = null;
      let hasBegun = false;
      const fail = (error: Error) => {
        clearTimeout(timer);
        if (this.socket === socket) this.detach("not connected", RECONNECT_CODE); // the server may have the session by now
        reject(error);
      };
      const timer = setTimeout(() => fail(new Disconnected("no Welcome in time")), HELLO_MS_MAX);
      socket.onopen = () => socket.send(this.core.hello(this.options.build ?? "tickwire-web", shown));
      socket.onerror = () => undefined; // a close follows
      socket.onclose = (event: { code?: number; reason?: string }) => {
        if (hasBegun && this.socket === socket) this.lost(event.code ?? 1006, event.reason ?? "");
        else fail(this.lastError ?? new Disconnected(`the connection was closed: ${event.code ?? ""}`, this.goodbye));
      };
      socket.onmessage = (event: { data: ArrayBuffer }) => {
        if (this.socket !== socket) return;
        if (this.receive(new Uint8Array(event.data))) {
          hasBegun = true;
          clearTimeout(timer);
          resolve();
        }
      };
    });
  }

  /** One message; says whether it was the Welcome. */
  private receive(data: Uint8Array): boolean {
    this.bytesReceived += data.length;
    let update: Update | null;
    try {
      update = this.core.receive(data, this.now());
    } catch (error) {
      this.socket?.close(4001, "not understood");
      throw error;
    }
    if (update) this.heard(update);
    for (const message of this.core.outgoing.splice(0)) this.send(message);
    return update?.type === "welcomed";
  }

  private heard(update: Update): void {
    switch (update.type) {
      case "welcomed":
        this.welcomed(update);
        break;
      case "state":
        this.tell("state", update);
        break;
      case "event":
        this.tell("event", { name: update.event.name, payload: decode(update.event.payload) });
        break;
      case "joined":
        this.tell("joined", update.joined);
        break;
      case "left":
      case "acknowledged":
        this.tell(update.type, update as never);
        break;
      case "match":
        this.tell("match", update.status);
        break;
      case "pong":
        this.rttMs = update.rttMs;
        this.clockOffsetMs = update.clockOffsetMs;
        this.tell("pong", update);
        break;
      case "redirected":
        if (update.redirect.isResume) this.moved(update.redirect.url);
        break;
      case "refused":
        this.lastError = new Refused(update.error);
        this.tell("refused", this.lastError);
        break;
      case "ended":
        this.goodbye = update.goodbye;
        break;
    }
    for (const waiting of [...this.waiting]) {
      const found = waiting.hear(update);
      if (found) this.settle(waiting, found);
    }
  }

  private welcomed(update: Extract<Update, { type: "welcomed" }>): void {
    const isAgain = this.state === "away";
    this.state = "open";
    this.hasMoved = false;
    clearInterval(this.heartbeat);
    // Twice an interval, so that one that is lost is not missed; and at once, to say that the token has arrived.
    const ping = () => this.send(this.core.ping(this.now()));
    this.heartbeat = setInterval(ping, Math.min(2000, update.welcome.heartbeatIntervalMs / 2));
    ping();
    if (!isAgain) return;
    if (update.hasResumed) this.resumes += 1;
    else this.sessionsLost += 1;
    for (const waiting of this.waiting) if (!waiting.isUnderWay(update.welcome)) this.send(waiting.data);
    this.tell("back", { isSameSession: update.hasResumed });
    if (update.lostRoom) this.tell("left", { reason: "the seat was lost with the session" });
  }

  /** The session goes on at another shard: the server closes now, and the next connection goes there. */
  private moved(url: string): void {
    this.checkScheme(url);
    this.url = url;
    this.hasMoved = true;
  }

  private lost(code: number, reason: string): void {
    this.detach(reason);
    const mayComeBack = (code < 4500 && code !== 1008 && code !== 1003) || code >= 5000;
    const isOver = this.goodbye !== null && !this.goodbye.comeBack;
    const limit = this.options.reconnectMs ?? RECONNECT_MS_MAX;
    if (this.state === "closed") return;
    if (!mayComeBack || isOver || !limit) {
      this.closeWith(this.lastError ?? new Disconnected(reason || `closed with ${code}`, this.goodbye));
      return;
    }
    this.state = "away";
    this.tell("away", { reason: reason || `closed with ${code}` });
    void this.reconnect(limit);
  }

  private async reconnect(limitMs: number): Promise<void> {
    const until = this.now() + limitMs;
    const backoff = new Backoff();
    let redirects = 0;
    let attempts = 0;
    let waitMs = this.hasMoved ? 0 : backoff.next(this.goodbye?.retryAfterMs);
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, waitMs));
      if (this.state !== "away") return;
      this.hasMoved = false;
      try {
        await this.connectOnce();
        return;
      } catch (error) {
        if (error instanceof Refused && !error.isRetryable) {
          this.closeWith(error);
          return;
        }
        if (this.hasMoved && redirects++ < REDIRECTS_MAX) {
          waitMs = 0;
          continue;
        }
        if (this.now() > until) {
          this.closeWith(new Disconnected("the server cannot be reached", this.goodbye));
          return;
        }
        // By turns where the session was and where it all began: that shard may be gone.
        const last = this.url;
        if (attempts++ % 2 && last !== this.home) this.url = this.home;
        waitMs = backoff.next(error instanceof Refused ? error.retryAfterMs : 0);
      }
    }
  }

  /** @param code: 1000 ends the session at the server; any other code leaves it to be resumed. */
  private detach(reason: string, code = 1000): void {
    clearInterval(this.heartbeat);
    const { socket } = this;
    this.socket = null;
    if (socket) {
      socket.onmessage = socket.onopen = null;
      socket.onclose = socket.onerror = () => undefined;
      if (socket.readyState < 2) socket.close(code, reason);
    }
  }

  private closeWith(error: TickwireError): void {
    this.state = "closed";
    this.detach("closed");
    for (const waiting of [...this.waiting]) this.settle(waiting, { error });
    this.tell("closed", error instanceof Disconnected ? error : new Disconnected(error.message, this.goodbye));
  }

  private send(data: Uint8Array): void {
    if (this.socket?.readyState === 1) this.socket.send(data);
  }

  private tell<K extends keyof Events>(name: K, value: Events[K]): void {
    for (const listener of this.listeners.get(name) ?? []) listener(value);
  }
}

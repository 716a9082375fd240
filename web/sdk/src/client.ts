/** A client: one session, what a player does as promises, and what the server says as events, in the order in which it came. */

import { Backoff } from "./backoff.js";
import type { Socket } from "./connection.js";
import type { ClientCore, Update } from "./core.js";
import { Emitter, type ListenerError } from "./emitter.js";
import { type EntityListener, EntityWatch } from "./entities.js";
import { CommandFailed, Disconnected, NotMatched, Refused, SessionLost, TickwireError } from "./errors.js";
import type {
  EventMessage,
  JoinedMessage,
  MatchStatusMessage,
  MatchWish,
  RedirectMessage,
  ReplyMessage,
  WelcomeMessage,
  Wish,
} from "./messages.js";
import { decode, type Plain } from "./msgpack.js";
import { Session, type SessionOptions, type SessionState } from "./session.js";
import type { World } from "./world.js";

const ANSWER_MS_MAX = 15_000;
/** A command without a Reply is sent again: the server may not have read it. */
const COMMAND_AGAIN_MS = 10_000;
/** How long the queue may take to decide whether a cancellation or the match came first. */
const CANCEL_MS_MAX = 5_000;
/** How long a join asks again when it is redirected to a shard that cannot be reached. */
const JOIN_MS_MAX = 30_000;
const REDIRECTS_MAX = 5;

export type { Socket };
export type Options = SessionOptions;

/** The events, and what their listeners get. */
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
  /** A listener has thrown, or what the server sent for it cannot be read. Goes to the console when nobody listens. */
  error: ListenerError;
  closed: Disconnected;
}

interface Request {
  /** The message's type in the schema: an Error names the one that it answers. */
  readonly type: "Join" | "Leave" | "MatchRequest" | "Command";
  /** Empty for a command, which the core sends. */
  readonly data: Uint8Array | null;
  /** Whether the answer follows by itself on a connection that begins so; else it is asked again. */
  readonly isUnderWay?: (welcome: WelcomeMessage) => boolean;
  /** Returns what ends the wait, or null when this says nothing of it. */
  hear(update: Update): Outcome | null;
}

type Outcome = { value: unknown } | { error: Error };

interface Waiting extends Request {
  end(outcome: Outcome): void;
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
  rttMs = NaN;
  /** The server's clock, UTC in milliseconds, is ours and this. */
  clockOffsetMs = NaN;
  resumes = 0;
  sessionsLost = 0;

  private readonly session: Session;
  private readonly emitter = new Emitter<Events>();
  private readonly waiting = new Set<Waiting>();
  private seating: Promise<unknown> | null = null;
  private pumping: ReturnType<typeof setTimeout> | undefined;
  /** The calls of `match` that wait in a queue. */
  private matches = 0;
  /** The last message was a FOUND: the Redirect that follows is of the match. */
  private isOfMatch = false;
  /** A join has ended without an answer: a seat that comes now is given back. */
  private isUnwanted = false;

  constructor(url: string, options: Options) {
    this.session = new Session(url, options, {
      updated: (update, isReturn) => this.heard(update, isReturn),
      away: (reason) => this.emitter.emit("away", { reason }),
      closed: (error) => this.ended(error),
      failed: (error, where) => this.emitter.report(error, where),
    });
  }

  get core(): ClientCore {
    return this.session.core;
  }

  get state(): SessionState {
    return this.session.state;
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
    return this.session.url;
  }

  get bytesReceived(): number {
    return this.session.bytesReceived;
  }

  /** Calls the listener with each event of that name. Returns a function that ends this. */
  on<K extends keyof Events>(name: K, listener: (value: Events[K]) => void): () => void {
    return this.emitter.on(name, listener);
  }

  /** Watches a table of the rooms that are joined: who enters, changes and leaves. Returns a function that ends this.
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

  /** Connects for the first time.
   *
   * @throws Disconnected, Refused. */
  open(): Promise<void> {
    return this.session.open();
  }

  // -- what a player does ---------------------------------------------------------------------------------

  /** Takes a seat, wherever there is one: follows Redirects.
   *
   * @throws Refused, Disconnected, MessageTooLarge. */
  async join(roomType: string, wish: Wish = {}): Promise<JoinedMessage> {
    const data = this.core.join(roomType, wish);
    return this.inTurn(() => this.takeSeat(data, wish.options));
  }

  /** Waits in a queue until a match is found, and takes the seat in it. However it fails, the place is given back.
   *
   * A match that was final before a cancellation, or before the time was over, is played: the other players count on it.
   *
   * @throws NotMatched, Refused, Disconnected, MessageTooLarge. */
  async match(mode: string, wish: MatchWish = {}, timeoutMs = 120_000): Promise<JoinedMessage> {
    const found = await this.findMatch(mode, this.core.matchRequest(mode, wish), timeoutMs);
    return this.inTurn(async () => {
      if (this.core.world) await this.giveSeat();
      const data = await this.follow(found, wish.options);
      if (!data) throw new NotMatched("the shard of the match cannot be reached");
      return this.takeSeat(data, wish.options);
    });
  }

  /** Asks for the place in the queue to be given up. `match` ends with it, unless the match was final before. */
  cancelMatch(): void {
    this.session.send(this.core.matchCancel());
  }

  /** Gives the seat back. */
  leave(): Promise<void> {
    return this.inTurn(() => this.giveSeat());
  }

  /** A wish for the simulation, in the game's units; what is not given is zero.
   *
   * Returns its number; 0 when there is no connection, and it was not sent.
   *
   * @throws RangeError: in no room, or the room has no such input. */
  input(values: Readonly<Record<string, number>>): number {
    if (this.state !== "open") return 0;
    const { seq, data } = this.core.input(values);
    return this.session.send(data) ? seq : 0;
  }

  /** A request that is answered exactly once, whatever happens to the connection.
   *
   * @throws CommandFailed, SessionLost, Disconnected, MessageTooLarge; RangeError: in no room. */
  async command(name: string, payload: unknown = null, timeoutMs = ANSWER_MS_MAX): Promise<Plain> {
    const id = this.core.command(name, payload);
    const hear = (update: Update): Outcome | null => {
      if (update.type === "reply" && update.reply.id === id) return this.heardReply(update.reply);
      const isLost = (update.type === "welcomed" && !update.hasResumed) || update.type === "left";
      return isLost ? { error: new SessionLost(`the seat was lost before the room answered ${name}`) } : null;
    };
    const again = setInterval(() => this.askAgain(id), COMMAND_AGAIN_MS);
    try {
      const answer = this.ask<ReplyMessage>({ type: "Command", data: null, hear }, timeoutMs);
      this.pump();
      const reply = await answer;
      if (!reply.ok) throw new CommandFailed(reply.error, reply.message);
      return decode(reply.payload);
    } finally {
      clearInterval(again);
      this.core.giveUp(id);
      this.pump();
    }
  }

  /** Ends the session: the seat and the place in the queue are free. */
  close(): void {
    this.session.close(new Disconnected("closed by the client"));
  }

  /** Loses the connection, as a bad network does; the session is resumed. For demonstrations and tests. */
  drop(): void {
    this.session.drop();
  }

  // -- commands -------------------------------------------------------------------------------------------

  /** Sends the commands that may be sent now, and comes back for those that the server's rates hold back. */
  private pump(): void {
    clearTimeout(this.pumping);
    if (this.state !== "open") return;
    for (const data of this.core.commandsToSend(this.session.now())) this.session.send(data);
    const waitMs = this.core.commandWaitMs(this.session.now());
    if (waitMs > 0) this.pumping = setTimeout(() => this.pump(), waitMs);
  }

  /** An answer that decides nothing is asked for again. */
  private heardReply(reply: ReplyMessage): Outcome | null {
    if (!reply.retryAfterMs) return { value: reply };
    setTimeout(() => this.askAgain(reply.id), reply.retryAfterMs);
    return null;
  }

  private askAgain(id: bigint): void {
    const data = this.core.unansweredCommand(id);
    if (data) this.session.send(data);
  }

  // -- seats and matches ----------------------------------------------------------------------------------

  private async findMatch(mode: string, data: Uint8Array, timeoutMs: number): Promise<RedirectMessage> {
    let isQueued = false;
    let isLate = false;
    const hear = (update: Update): Outcome | null => {
      if (update.type === "redirected") return this.isOfMatch && isQueued ? { value: update.redirect } : null;
      if (update.type !== "match") return null;
      const { state, reason, mode: named } = update.status;
      if (state === "found" && reason) return null; // it answers a cancellation: the match itself came before
      if (named && named !== mode) return state === "found" ? { error: new NotMatched(`found: a match of ${named}`) } : null;
      if (state === "waiting" || state === "found") isQueued = true;
      // What has ended before this place was confirmed is an earlier one.
      else if (isQueued) return { error: new NotMatched(isLate ? `no match in ${timeoutMs} ms` : `${state}: ${reason}`) };
      return null;
    };
    const timer = setTimeout(() => {
      isLate = true;
      this.cancelMatch();
    }, timeoutMs);
    this.matches++;
    try {
      return await this.ask({ type: "MatchRequest", data, hear }, timeoutMs + CANCEL_MS_MAX);
    } catch (error) {
      this.cancelMatch();
      throw error;
    } finally {
      clearTimeout(timer);
      this.matches--;
    }
  }

  /** Runs what takes or gives a seat when all before it have ended: the server does one of these at a time. */
  private async inTurn<T>(work: () => Promise<T>): Promise<T> {
    while (this.seating) await this.seating.catch(() => undefined);
    const mine = (this.seating = work());
    try {
      return await mine;
    } finally {
      if (this.seating === mine) this.seating = null;
    }
  }

  private async giveSeat(): Promise<void> {
    const hear = (update: Update) => (update.type === "left" ? { value: null } : null);
    await this.ask({ type: "Leave", data: this.core.leave(), hear }, ANSWER_MS_MAX);
  }

  /** Asks for a seat, and follows Redirects. A shard that has died is forgotten by the others within some seconds: until then
   * they redirect to it, and the client asks again where it began. */
  private async takeSeat(first: Uint8Array, options: Wish["options"]): Promise<JoinedMessage> {
    const backoff = new Backoff();
    const untilMs = this.session.now() + JOIN_MS_MAX;
    let data = first;
    for (let hops = 0; hops <= REDIRECTS_MAX; hops++) {
      const answer = await this.askForSeat(data);
      if (answer.type === "joined") return answer;
      const followed = await this.follow(answer, options);
      data = followed ?? first;
      if (followed) continue;
      const waitMs = backoff.next();
      if (this.session.now() + waitMs > untilMs) throw new Disconnected(`the room's shard, ${answer.url}, cannot be reached`);
      await new Promise((resolve) => setTimeout(resolve, waitMs));
      hops = -1;
    }
    throw new TickwireError(`redirected more than ${REDIRECTS_MAX} times`);
  }

  private async askForSeat(data: Uint8Array): Promise<JoinedMessage | RedirectMessage> {
    const hear = (update: Update): Outcome | null => {
      if (update.type === "redirected") return this.isOfMatch ? null : { value: update.redirect };
      if (update.type !== "joined") return null;
      this.session.hold(); // what comes with the seat reaches those who listen once they have it
      return { value: update.joined };
    };
    const isUnderWay = (welcome: WelcomeMessage) => welcome.isJoining || welcome.roomId !== "";
    this.isUnwanted = false;
    try {
      return await this.ask({ type: "Join", data, hear, isUnderWay }, ANSWER_MS_MAX);
    } catch (error) {
      this.isUnwanted = !(error instanceof Refused);
      throw error;
    }
  }

  /** Goes where a Redirect says. Returns the Join to be sent there; null: that cannot be reached, and the client is where it
   * began, to ask there again. */
  private async follow(redirect: RedirectMessage, options: Wish["options"]): Promise<Uint8Array | null> {
    if (redirect.url && redirect.url !== this.address && !(await this.session.moveTo(redirect.url))) return null;
    const { ticket, roomName } = redirect;
    return this.core.join(redirect.roomType, { ticket, name: roomName, ...(options ? { options } : {}) });
  }

  // -- requests and their answers -------------------------------------------------------------------------

  /** Sends, and waits for what ends the wait. What was under way when the connection was lost is sent again. */
  private ask<T>(request: Request, timeoutMs: number): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.state === "closed") {
        reject(new Disconnected("the session is closed", this.session.goodbye));
        return;
      }
      const end = (outcome: Outcome) => {
        if (!this.waiting.delete(waiting)) return;
        clearTimeout(timer);
        if ("error" in outcome) reject(outcome.error);
        else resolve(outcome.value as T);
      };
      const timer = setTimeout(() => end({ error: new TickwireError(`no answer to ${request.type} in time`) }), timeoutMs);
      const waiting: Waiting = { ...request, end };
      this.waiting.add(waiting);
      if (request.data) this.session.send(request.data);
    });
  }

  // -- what the server says -------------------------------------------------------------------------------

  private heard(update: Update, isReturn: boolean): void {
    const asked = [...this.waiting]; // what listeners ask for is answered later
    if (update.type === "welcomed") this.welcomed(update, isReturn);
    else this.tell(update);
    const isWanted = this.answer(update, asked);
    // A place in the queue or a seat that was given up while it could not be said would keep others waiting.
    if (update.type === "match" && !this.matches && update.status.state === "waiting") this.cancelMatch();
    if (update.type === "joined" && !isWanted && this.isUnwanted) this.session.send(this.core.leave());
  }

  /** Ends those waits that an update ends. Returns whether there was one. */
  private answer(update: Update, asked: readonly Waiting[]): boolean {
    if (update.type === "redirected" && update.redirect.isResume) return false; // the session follows it
    let isAnswer = false;
    for (const waiting of asked) {
      const isRefused = update.type === "refused" && update.error.requestType === waiting.type;
      const outcome = isRefused ? { error: new Refused(update.error) } : waiting.hear(update);
      if (!outcome) continue;
      isAnswer = true;
      waiting.end(outcome);
      if (update.type === "redirected") break; // it answers one request
    }
    // A FOUND that answers a cancellation has a reason, and no Redirect follows it.
    this.isOfMatch = update.type === "match" && update.status.state === "found" && !update.status.reason;
    return isAnswer;
  }

  private welcomed({ welcome, hasResumed, lostRoom }: Extract<Update, { type: "welcomed" }>, isReturn: boolean): void {
    for (const { data, isUnderWay } of this.waiting) if (data && !isUnderWay?.(welcome)) this.session.send(data);
    this.pump();
    if (isReturn) {
      if (hasResumed) this.resumes += 1;
      else this.sessionsLost += 1;
      this.emitter.emit("back", { isSameSession: hasResumed });
    }
    if (lostRoom) this.emitter.emit("left", { reason: "the seat was lost with the session" });
  }

  private tell(update: Update): void {
    const { emitter } = this;
    switch (update.type) {
      case "state":
      case "left":
      case "acknowledged":
        emitter.emit(update.type, update as never);
        break;
      case "event":
        this.tellEvent(update.event);
        break;
      case "joined":
        emitter.emit("joined", update.joined);
        break;
      case "match":
        emitter.emit("match", update.status);
        break;
      case "pong":
        this.rttMs = update.rttMs;
        this.clockOffsetMs = update.clockOffsetMs;
        emitter.emit("pong", update);
        break;
      case "refused":
      case "eventsLost":
        emitter.emit("refused", new Refused(update.error));
        break;
    }
  }

  private tellEvent({ name, payload }: EventMessage): void {
    let decoded: Plain;
    try {
      decoded = decode(payload);
    } catch (error) {
      this.emitter.report(error, "event");
      return;
    }
    this.emitter.emit("event", { name, payload: decoded });
  }

  private ended(error: TickwireError): void {
    clearTimeout(this.pumping);
    for (const waiting of [...this.waiting]) waiting.end({ error });
    this.emitter.emit("closed", error instanceof Disconnected ? error : new Disconnected(error.message, this.session.goodbye));
  }
}

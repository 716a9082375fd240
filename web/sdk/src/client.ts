/** The client of one session: requests are promises, and messages of the server are events, in the order of arrival. */

import { Backoff } from "./backoff.js";
import type { Socket } from "./connection.js";
import type { ClientCore, Update } from "./core.js";
import { Emitter, type ListenerError } from "./emitter.js";
import { type EntityListener, EntityTracker } from "./entities.js";
import { CommandFailed, Disconnected, NotMatched, Refused, SessionLost, ClientError } from "./errors.js";
import { decode, type Plain } from "./msgpack.js";
import { REDIRECTS_MAX } from "./retry.js";
import { Room, type RoomTypes } from "./room.js";
import { Session, type SessionOptions, type SessionState } from "./session.js";
import type {
  EventMessage,
  JoinedMessage,
  JoinOptions,
  MatchOptions,
  MatchStatusMessage,
  ListOptions,
  OpenRoom,
  RedirectMessage,
  ReplyMessage,
  Report,
} from "./types.js";
import type { World } from "./world.js";

const ANSWER_MS_MAX = 15_000;
/** The interval at which a command without a Reply is sent again: the server may not have received it. */
const COMMAND_RETRY_MS = 10_000;
/** The command that every shard answers itself, in any room: schemas/report.py. */
const REPORT_COMMAND = "tickwire.report";
/** How long the queue may take to decide between a cancellation and a match. */
const CANCEL_MS_MAX = 5_000;
/** How long a join is repeated while it is redirected to a shard that cannot be reached. */
const JOIN_MS_MAX = 30_000;

export type { Socket };
export type Options = SessionOptions;

/** The events, and the values that their listeners receive. */
export interface Events {
  /** The world advanced by one or more ticks. */
  state: { tick: number; isKeyframe: boolean };
  /** An event of the room. */
  event: { name: string; payload: Plain };
  joined: JoinedMessage;
  /** The player is no longer in the room. */
  left: { reason: string };
  acknowledged: { seq: number; tick: number };
  match: MatchStatusMessage;
  /** The connection was lost, and the client reconnects. */
  disconnected: { reason: string };
  /** The client reconnected. `isSameSession`: the session was resumed. */
  reconnected: { isSameSession: boolean };
  /** A round trip was measured. */
  pong: { rttMs: number; clockOffsetMs: number };
  refused: Refused;
  /** A listener threw, or its payload cannot be decoded. Goes to the console if there are no listeners. */
  error: ListenerError;
  closed: Disconnected;
}

interface Request {
  /** The message's type in the schema: an Error names the type of the message that it answers. */
  readonly type: "Join" | "Leave" | "MatchRequest" | "ListRooms" | "Command" | "abandoned Join";
  /** The message; null for a command, which the core sends, and for a Join that was sent before. */
  readonly data: Uint8Array | null;
  /** Returns the outcome if the update ends this request, else null. */
  outcome(update: Update): Outcome | null;
}

type Outcome = { value: unknown } | { error: Error };

interface PendingRequest extends Request {
  end(outcome: Outcome): void;
}

/** The room types of a game, by their names, as `tickwire codegen typescript` generates them. */
type RoomsOf<Rooms> = { [K in keyof Rooms]: RoomTypes };

/** Options may be left out of a join if the room requires none. */
type JoinArguments<O extends object> = {} extends O ? [options?: JoinOptions<O>] : [options: JoinOptions<O> & { readonly options: O }];

/** Opens a session.
 *
 * @throws Disconnected, Refused. */
export async function connect<Rooms extends RoomsOf<Rooms> = any>(url: string, options: Options = {}): Promise<Client<Rooms>> {
  const client = new Client<Rooms>(url, options);
  await client.open();
  return client;
}

/** @typeParam Rooms: the room types of the game; by default, rooms are not typed. */
export class Client<Rooms extends RoomsOf<Rooms> = any> {
  rttMs = NaN;
  /** The server's clock (UTC, milliseconds) minus the client's. */
  clockOffsetMs = NaN;
  resumes = 0;
  sessionsLost = 0;

  private readonly session: Session;
  private readonly emitter = new Emitter<Events>();
  private readonly pending = new Set<PendingRequest>();
  private lastRoom: Room | null = null;
  private seatOperation: Promise<unknown> | null = null;
  private pumpTimer: ReturnType<typeof setTimeout> | undefined;
  /** The number of `match` calls that wait in a queue. */
  private matches = 0;
  private listId = 0;
  private listing: Promise<unknown> = Promise.resolve();
  /** The last message was FOUND: the next Redirect leads to the match. */
  private isMatchRedirect = false;
  /** Leads to the room, on another shard, to which the player is moved once it has left its room. */
  private move: RedirectMessage | null = null;
  /** A join ended without an answer: a seat that still arrives is released, and the next Join waits for the answer. */
  private isJoinAbandoned = false;

  constructor(url: string, options: Options) {
    this.session = new Session(url, options, {
      updated: (update, isReconnect) => this.handleUpdate(update, isReconnect),
      disconnected: (reason) => this.emitter.emit("disconnected", { reason }),
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

  /** The mirrored state of the room.
   *
   * @throws ClientError: the client is in no room. */
  get world(): World {
    if (!this.core.world) throw new ClientError("the client is in no room");
    return this.core.world;
  }

  /** The room that the client is in. */
  get room(): Room | null {
    return this.core.joined && this.lastRoom;
  }

  /** The address of the shard that has the session. */
  get url(): string {
    return this.session.url;
  }

  get bytesReceived(): number {
    return this.session.bytesReceived;
  }

  /** Adds a listener for an event. Returns a function that removes it. */
  on<K extends keyof Events>(name: K, listener: (value: Events[K]) => void): () => void {
    return this.emitter.on(name, listener);
  }

  /** Reports the entities of a table that enter, change and leave, in this room and later ones. Returns a function that stops it.
   *
   * @param fields: the fields whose changes are reported. */
  entities(table: string, fields: readonly string[], listener: EntityListener): () => void {
    const guarded = (call: (id: number) => void) => (id: number) => {
      try {
        call(id);
      } catch (error) {
        this.emitter.report(error, "entities"); // the tracker continues with the next entity
      }
    };
    const tracker = new EntityTracker(table, fields, {
      enter: guarded((id) => listener.enter?.(id)),
      change: guarded((id) => listener.change?.(id)),
      leave: guarded((id) => listener.leave?.(id)),
    });
    const removers = [
      this.on("state", () => this.core.world && tracker.update(this.core.world)),
      this.on("left", () => tracker.end()),
    ];
    return () => removers.forEach((remove) => remove());
  }

  /** Connects for the first time.
   *
   * @throws Disconnected, Refused. */
  open(): Promise<void> {
    return this.session.open();
  }

  // -- requests of the player -----------------------------------------------------------------------------

  /** Joins a room, on whichever shard it is: follows Redirects.
   *
   * @throws Refused, Disconnected, MessageTooLarge. */
  async join<T extends keyof Rooms & string>(
    roomType: T,
    ...[options = {}]: JoinArguments<Rooms[T]["options"]>
  ): Promise<Room<Rooms[T]>> {
    const data = this.core.join(roomType, options);
    return this.serialize(() => this.acquireSeat(data, options.options));
  }

  /** Waits in a queue until a match is found, and joins its room. Every failure also leaves the queue.
   *
   * A match that was final before the cancellation or the timeout is joined, because the other players wait for it.
   *
   * @throws NotMatched, Refused, Disconnected, MessageTooLarge. */
  async match<R extends RoomTypes = any>(mode: string, options: MatchOptions<R["options"]> = {}, timeoutMs = 120_000): Promise<Room<R>> {
    const found = await this.findMatch(mode, this.core.matchRequest(mode, options), timeoutMs);
    return this.serialize(async () => {
      if (this.core.world) await this.releaseSeat();
      const data = await this.follow(found, options.options);
      if (!data) throw new NotMatched("the shard of the match cannot be reached");
      return this.acquireSeat(data, options.options);
    });
  }

  /** Returns rooms of a type that any player may join now, the fullest first. Join one with its `roomId`.
   *
   * @throws Refused, Disconnected, MessageTooLarge. */
  async listRooms(roomType: string, options: ListOptions = {}): Promise<readonly OpenRoom[]> {
    const id = ++this.listId;
    const data = this.core.listRooms(id, roomType, options.labels, options.limit ?? 0);
    const outcome = (update: Update): Outcome | null => (update.type === "rooms" && update.id === id ? { value: update.rooms } : null);
    // One at a time: an Error does not say which of several requests it answers.
    const answer = this.listing.catch(() => undefined).then(() => this.request<readonly OpenRoom[]>({ type: "ListRooms", data, outcome }, ANSWER_MS_MAX));
    this.listing = answer;
    return answer;
  }

  /** Leaves the queue. `match` is rejected, unless the match was already final. */
  cancelMatch(): void {
    this.session.send(this.core.matchCancel());
  }

  /** Leaves the room. */
  leave(): Promise<void> {
    return this.serialize(() => this.releaseSeat());
  }

  /** Sends an input, in the game's units. Missing fields are zero.
   *
   * Returns its sequence number; 0 if it was not sent because there is no connection.
   *
   * @throws RangeError: the client is in no room, or the room has no such input. */
  sendInput(values: Readonly<Record<string, number>>): number {
    if (this.state !== "connected") return 0;
    const { seq, data } = this.core.input(values);
    return this.session.send(data) ? seq : 0;
  }

  /** Runs a command in the room and returns its reply. The command runs at most once, also across reconnects.
   *
   * @throws CommandFailed, SessionLost, Disconnected, MessageTooLarge; RangeError: the client is in no room. */
  async command(name: string, payload: unknown = null, timeoutMs = ANSWER_MS_MAX): Promise<Plain> {
    const id = this.core.command(name, payload);
    const outcome = (update: Update): Outcome | null => {
      if (update.type === "reply" && update.reply.id === id) return this.replyOutcome(update.reply);
      const isLost = (update.type === "welcomed" && !update.hasResumed) || update.type === "left";
      return isLost ? { error: new SessionLost(`the seat was lost before the room answered ${name}`) } : null;
    };
    const again = setInterval(() => this.resendCommand(id), COMMAND_RETRY_MS);
    try {
      const answer = this.request<ReplyMessage>({ type: "Command", data: null, outcome }, timeoutMs);
      this.sendCommands();
      const reply = await answer;
      if (!reply.ok) throw new CommandFailed(reply.error, reply.message);
      return decode(reply.payload);
    } finally {
      clearInterval(again);
      this.core.abandonCommand(id);
      this.sendCommands();
    }
  }

  /** Reports what is wrong in the match: the shard logs it and stores the last seconds of the room.
   *
   * @param reason: the player's words, 1 to 500 characters.
   * @returns the number of the report, for the game's support, and whether the room was recorded.
   * @throws CommandFailed: the player has reported less than a minute ago, or the server accepts no reports. */
  async report(reason: string, timeoutMs = ANSWER_MS_MAX): Promise<Report> {
    const reply = (await this.command(REPORT_COMMAND, { reason }, timeoutMs)) as { report_id: string; is_recorded: boolean };
    return { reportId: reply.report_id, isRecorded: reply.is_recorded };
  }

  /** Ends the session, and frees the seat and the queue entry. */
  close(): void {
    this.session.close(new Disconnected("closed by the client"));
  }

  /** Drops the connection, as a bad network does; the session is then resumed. For demonstrations and tests. */
  drop(): void {
    this.session.drop();
  }

  // -- commands -------------------------------------------------------------------------------------------

  /** Sends the commands that may be sent now, and schedules those that the server's rates hold back. */
  private sendCommands(): void {
    clearTimeout(this.pumpTimer);
    if (this.state !== "connected") return;
    for (const data of this.core.commandsToSend(this.session.now())) this.session.send(data);
    const waitMs = this.core.commandWaitMs(this.session.now());
    if (waitMs > 0) this.pumpTimer = setTimeout(() => this.sendCommands(), waitMs);
  }

  /** Returns the outcome of a final reply; otherwise schedules the command again. */
  private replyOutcome(reply: ReplyMessage): Outcome | null {
    if (!reply.retryAfterMs) return { value: reply };
    setTimeout(() => this.resendCommand(reply.id), reply.retryAfterMs);
    return null;
  }

  private resendCommand(id: bigint): void {
    const data = this.core.unansweredCommand(id);
    if (data) this.session.send(data);
  }

  // -- seats and matches ----------------------------------------------------------------------------------

  private async findMatch(mode: string, data: Uint8Array, timeoutMs: number): Promise<RedirectMessage> {
    let isQueued = false;
    let isLate = false;
    const outcome = (update: Update): Outcome | null => {
      if (update.type === "redirected") return this.isMatchRedirect && isQueued ? { value: update.redirect } : null;
      if (update.type !== "match") return null;
      const { state, reason, mode: named } = update.status;
      if (state === "found" && reason) return null; // answers a cancellation: the match was reported before
      if (named && named !== mode) return state === "found" ? { error: new NotMatched(`found: a match of ${named}`) } : null;
      if (state === "waiting" || state === "found") isQueued = true;
      // An end before this request was confirmed belongs to an earlier request.
      else if (isQueued) return { error: new NotMatched(isLate ? `no match in ${timeoutMs} ms` : `${state}: ${reason}`) };
      return null;
    };
    const timer = setTimeout(() => {
      isLate = true;
      this.cancelMatch();
    }, timeoutMs);
    this.matches++;
    try {
      return await this.request({ type: "MatchRequest", data, outcome }, timeoutMs + CANCEL_MS_MAX);
    } catch (error) {
      this.cancelMatch();
      throw error;
    } finally {
      clearTimeout(timer);
      this.matches--;
    }
  }

  /** Runs joins and leaves one after the other: the server processes one at a time. */
  private async serialize<T>(work: () => Promise<T>): Promise<T> {
    while (this.seatOperation) await this.seatOperation.catch(() => undefined);
    const mine = (this.seatOperation = work());
    try {
      return await mine;
    } finally {
      if (this.seatOperation === mine) this.seatOperation = null;
    }
  }

  private async releaseSeat(): Promise<void> {
    const outcome = (update: Update) => (update.type === "left" ? { value: null } : null);
    await this.request({ type: "Leave", data: this.core.leave(), outcome }, ANSWER_MS_MAX);
  }

  /** Requests a seat, and follows Redirects. Other shards redirect to a dead shard until its lease expires, some seconds later:
   * until then the client repeats the request at its initial URL. */
  private async acquireSeat(first: Uint8Array, options: JoinOptions["options"]): Promise<Room> {
    const backoff = new Backoff();
    const untilMs = this.session.now() + JOIN_MS_MAX;
    let data = first;
    for (let hops = 0; hops <= REDIRECTS_MAX; hops++) {
      const answer = await this.requestSeat(data);
      if (answer instanceof Room) return answer;
      const followed = await this.follow(answer, options);
      data = followed ?? first;
      if (followed) continue;
      const waitMs = backoff.next();
      if (this.session.now() + waitMs > untilMs) throw new Disconnected(`the room's shard, ${answer.url}, cannot be reached`);
      await new Promise((resolve) => setTimeout(resolve, waitMs));
      hops = -1;
    }
    throw new ClientError(`redirected more than ${REDIRECTS_MAX} times`);
  }

  private async requestSeat(data: Uint8Array): Promise<Room | RedirectMessage> {
    const outcome = (update: Update): Outcome | null => {
      if (update.type === "redirected") return this.isMatchRedirect ? null : { value: update.redirect };
      if (update.type !== "joined" || update.isSameRoom) return null;
      this.session.hold(); // later messages wait until the caller has the room, and can add listeners
      return { value: this.lastRoom };
    };
    if (this.isJoinAbandoned) await this.abandonedJoinAnswered();
    try {
      return await this.request({ type: "Join", data, outcome }, ANSWER_MS_MAX);
    } catch (error) {
      this.isJoinAbandoned = !(error instanceof Refused);
      throw error;
    }
  }

  /** Waits for the answer to an abandoned Join: the server refuses another one until then, and its seat is not the next one's. */
  private abandonedJoinAnswered(): Promise<void> {
    const outcome = () => (this.isJoinAbandoned ? null : { value: undefined });
    return this.request({ type: "abandoned Join", data: null, outcome }, ANSWER_MS_MAX);
  }

  /** Returns whether an update is the answer to a Join, or shows that the server will not answer it. */
  private isJoinAnswer(update: Update): boolean {
    switch (update.type) {
      case "joined":
        return !update.isSameRoom;
      case "redirected":
        return !update.redirect.isResume && !this.isMatchRedirect;
      case "refused":
        return update.error.requestType === "Join";
      case "welcomed":
        return !update.isJoinInFlight;
      default:
        return false;
    }
  }

  /** Follows a Redirect. Returns the Join to send there; null if the shard cannot be reached: the client is then connected to its
   * initial URL. */
  private async follow(redirect: RedirectMessage, options: JoinOptions["options"]): Promise<Uint8Array | null> {
    if (redirect.url && redirect.url !== this.url && !(await this.session.moveTo(redirect.url))) return null;
    const { ticket, roomName } = redirect;
    return this.core.join(redirect.roomType, { ticket, name: roomName, ...(options ? { options } : {}) });
  }

  /** Enters the room to which the player was moved. A failure leaves the client in no room. */
  private followMove(redirect: RedirectMessage): void {
    this.move = null;
    const work = async () => {
      await null; // the room's Left is handled first
      const data = await this.follow(redirect, undefined);
      if (!data) throw new Disconnected(`the room's shard, ${redirect.url}, cannot be reached`);
      return this.acquireSeat(data, undefined);
    };
    this.serialize(work).catch((error) => this.emitter.report(error, "joined"));
  }

  // -- requests and their answers -------------------------------------------------------------------------

  /** Sends a request and waits for its outcome. Requests in flight when the connection is lost are sent again. */
  private request<T>(request: Request, timeoutMs: number): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.state === "closed") {
        reject(new Disconnected("the session is closed", this.session.goodbye));
        return;
      }
      const end = (outcome: Outcome) => {
        if (!this.pending.delete(pending)) return;
        clearTimeout(timer);
        if ("error" in outcome) reject(outcome.error);
        else resolve(outcome.value as T);
      };
      const timer = setTimeout(() => end({ error: new ClientError(`no answer to ${request.type} in time`) }), timeoutMs);
      const pending: PendingRequest = { ...request, end };
      this.pending.add(pending);
      if (request.data) this.session.send(request.data);
    });
  }

  // -- updates from the server ----------------------------------------------------------------------------

  private handleUpdate(update: Update, isReconnect: boolean): void {
    if (update.type === "redirected" && this.core.world && !update.redirect.isResume && !this.isMatchRedirect) {
      this.move = update.redirect; // a Join from a seat is refused: this answers none
      return;
    }
    const pendingBefore = [...this.pending]; // a request that a listener sends is answered by a later update
    const isAbandonedJoin = this.isJoinAbandoned && this.isJoinAnswer(update);
    if (isAbandonedJoin) this.isJoinAbandoned = false;
    if (update.type === "joined") this.enterRoom(update);
    if (this.move && !this.core.world) this.followMove(this.move);
    if (update.type === "welcomed") this.welcomed(update, isReconnect);
    else this.emitUpdate(update);
    this.answer(update, pendingBefore);
    // A queue entry or a seat that was abandoned while disconnected would block other players.
    if (update.type === "match" && !this.matches && update.status.state === "waiting") this.cancelMatch();
    if (update.type === "joined" && isAbandonedJoin) this.session.send(this.core.leave());
  }

  private enterRoom({ joined, isSameRoom }: Extract<Update, { type: "joined" }>): void {
    if (isSameRoom) this.lastRoom?.update(joined);
    else this.lastRoom = new Room(this, joined, (error, event) => this.emitter.report(error, event));
  }

  /** Ends the requests that an update answers. */
  private answer(update: Update, pendingBefore: readonly PendingRequest[]): void {
    if (update.type === "redirected" && update.redirect.isResume) return; // the session follows it
    for (const pending of pendingBefore) {
      const isRefused = update.type === "refused" && update.error.requestType === pending.type;
      const result = isRefused ? { error: new Refused(update.error) } : pending.outcome(update);
      if (!result) continue;
      pending.end(result);
      if (update.type === "redirected") break; // it answers one request
    }
    // A FOUND that answers a cancellation has a reason, and no Redirect follows it.
    this.isMatchRedirect = update.type === "match" && update.status.state === "found" && !update.status.reason;
  }

  private welcomed({ welcome, hasResumed, lostRoom, isJoinInFlight }: Extract<Update, { type: "welcomed" }>, isReconnect: boolean): void {
    for (const { type, data } of this.pending) if (data && !(type === "Join" && isJoinInFlight)) this.session.send(data);
    this.sendCommands();
    if (isReconnect) {
      if (hasResumed) this.resumes += 1;
      else this.sessionsLost += 1;
      this.emitter.emit("reconnected", { isSameSession: hasResumed });
    }
    if (lostRoom) this.emitter.emit("left", { reason: welcome.leftReason || "the seat was lost with the session" });
  }

  private emitUpdate(update: Update): void {
    const { emitter } = this;
    switch (update.type) {
      case "state":
      case "left":
      case "acknowledged":
        emitter.emit(update.type, update as never);
        break;
      case "event":
        this.emitEvent(update.event);
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

  private emitEvent({ name, payload }: EventMessage): void {
    let decoded: Plain;
    try {
      decoded = decode(payload);
    } catch (error) {
      this.emitter.report(error, "event");
      return;
    }
    this.emitter.emit("event", { name, payload: decoded });
    this.room?.emit(name, decoded);
  }

  private ended(error: ClientError): void {
    clearTimeout(this.pumpTimer);
    for (const pending of [...this.pending]) pending.end({ error });
    this.emitter.emit("closed", error instanceof Disconnected ? error : new Disconnected(error.message, this.session.goodbye));
  }
}

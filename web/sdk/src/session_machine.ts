/** The policy of a client: events go in with the time, commands come out in order. Pure.
 *
 *     shell --open, join, connected, messageReceived, timerFired, ...--> SessionMachine
 *     shell <--connect, send, setTimer, resolve, emit, ...-------------- takeCommands
 *
 * A shell opens sockets, runs one timer and passes results to the game. It carries out the commands in order, after each call of a
 * method. All clients have this machine, and agree on schemas/scenarios; the README there defines the events and commands.
 * ConnectionMachine connects, SeatMachine joins rooms; here are the messages, commands, matches and lists.
 *
 * States and acknowledgements are nearly all messages: the machine does nothing for them but `emit`. See `receive`. */

import type { Events } from "./client.js";
import { NORMAL, PROTOCOL_ERROR } from "./close_codes.js";
import { ConnectionMachine, type ConnectionUser, type MachineOptions, type SessionState } from "./connection_machine.js";
import { ClientCore, isAnswer, type Update } from "./core.js";
import { ATTEMPT, COMMANDS, Deadlines, HEARTBEAT, RENEWAL } from "./deadlines.js";
import { ClientError, CommandFailed, type ConnectFailed, type Disconnected, MalformedMessage, NotMatched, Refused, SessionLost, TimeoutError } from "./errors.js";
import { answers, CALL_MS_MAX, type CallKind, CANCEL_MS_MAX, MOVE, PendingCall, RENEWAL_MS } from "./machine_calls.js";
import type { MachineCommand } from "./machine_commands.js";
import { SeatMachine, type SeatUser } from "./seat_machine.js";
import type { ErrorMessage, JoinOptions, ListOptions, MatchOptions, RedirectMessage } from "./types.js";

const NONE: MachineCommand[] = [];

/** Times are milliseconds of a monotonic clock. */
export class SessionMachine implements ConnectionUser, SeatUser {
  readonly core: ClientCore;
  readonly connection: ConnectionMachine;
  /** Connections that continued the session. */
  resumes = 0;
  /** Sessions that the server did not keep. */
  sessionsLost = 0;

  private readonly commands: MachineCommand[] = [];
  private readonly deadlines = new Deadlines();
  private timerMs: number | null = null;
  private readonly seats: SeatMachine;
  private readonly calls = new Map<number, PendingCall>();
  private lastCall = 0;
  private opening: PendingCall | null = null;
  private matching: PendingCall | null = null;
  private readonly lists: PendingCall[] = [];
  /** The first one has been sent. */
  private readonly authentications: PendingCall[] = [];
  /** When the token of the session expires. */
  private renewalUntilMs = 0;
  private readonly byCommand = new Map<number, PendingCall>();
  /** From the Redirect of a move until the room's Left. */
  private move: RedirectMessage | null = null;
  /** The call that got the newest seat. */
  private seatedCall = 0;
  /** `disconnected` was emitted, and `reconnected` not yet. */
  private hasReportedLoss = false;
  /** The time of the current event. */
  private nowMs = 0;

  /** @param random: returns random numbers from 0 to 1. */
  constructor(options: MachineOptions, random: () => number = Math.random) {
    this.core = new ClientCore(random);
    this.connection = new ConnectionMachine(options, this.core, this.deadlines, this.commands, random, this);
    this.seats = new SeatMachine(this.core, this.connection, this.deadlines, random, this);
  }

  get state(): SessionState {
    return this.connection.state;
  }

  /** Whether the session is open and connected. */
  get isConnected(): boolean {
    return this.connection.phase === "open";
  }

  /** Returns the commands since the last call, in order. The last one may be `setTimer`. */
  takeCommands(): MachineCommand[] {
    if (this.deadlines.hasChanged) {
      this.deadlines.hasChanged = false;
      const nextMs = this.deadlines.nextMs;
      if (nextMs !== this.timerMs) this.commands.push({ type: "setTimer", atMs: (this.timerMs = nextMs) });
    }
    return this.commands.length ? this.commands.splice(0) : NONE;
  }

  // -- the game's calls -----------------------------------------------------------------------------------

  /** Connects for the first time, or resumes the session of an earlier run of the program.
   *
   * @param stored: the text of the last `storeSession`; empty without one. */
  open(stored: string, nowMs: number): number {
    this.nowMs = nowMs;
    this.opening = this.newCall("open");
    this.connection.open(stored, nowMs);
    return this.opening.number;
  }

  /** Joins a room, on whichever shard it is. */
  join(roomType: string, options: JoinOptions, nowMs: number): number {
    this.nowMs = nowMs;
    const call = this.newCall("join");
    call.options = options.options;
    call.first = this.encode(call, () => this.core.join(roomType, options));
    if (call.first) this.seats.add(call, nowMs);
    return call.number;
  }

  leave(nowMs: number): number {
    this.nowMs = nowMs;
    const call = this.newCall("leave");
    if (this.checkOpen(call)) this.seats.add(call, nowMs);
    return call.number;
  }

  /** Waits in a queue until a match is found, and joins its room. */
  match(mode: string, options: MatchOptions, timeoutMs: number, nowMs: number): number {
    this.nowMs = nowMs;
    const call = this.newCall("match");
    if (this.matching) {
      this.reject(call, new ClientError("another match is waiting: call cancelMatch first"));
      return call.number;
    }
    call.name = mode;
    call.timeoutMs = timeoutMs;
    call.options = options.options;
    const data = this.encode(call, () => this.core.matchRequest(mode, options));
    if (!data) return call.number;
    this.matching = call;
    call.request = { type: "MatchRequest", data };
    this.deadlines.set(call.number, nowMs + timeoutMs);
    this.send(data);
    return call.number;
  }

  /** Leaves the queue. A `match` in progress fails, unless the match was final before. */
  cancelMatch(nowMs: number): void {
    this.nowMs = nowMs;
    if (this.matching?.request) this.matching.isCancelled = true;
    this.send(this.core.matchCancel());
  }

  /** Requests open rooms of a type. One request waits at a time: an Error does not say which one it answers. */
  listRooms(roomType: string, options: ListOptions, nowMs: number): number {
    this.nowMs = nowMs;
    const call = this.newCall("listRooms");
    const encoded = this.encode(call, () => this.core.listRooms(roomType, options.labels, options.limit ?? 0));
    if (!encoded) return call.number;
    call.request = { type: "ListRooms", ...encoded };
    this.lists.push(call);
    if (this.lists.length === 1) this.begin(call);
    return call.number;
  }

  /** Logs in during the session, or renews its token. One token is checked at a time. */
  authenticate(token: string, nowMs: number): number {
    this.nowMs = nowMs;
    const call = this.newCall("authenticate");
    this.addAuthentication(call, token);
    return call.number;
  }

  /** Runs a command in the room. It is sent again until it is answered, and runs at most once. */
  command(name: string, payload: unknown, timeoutMs: number, nowMs: number): number {
    this.nowMs = nowMs;
    const call = this.newCall("command");
    call.name = name;
    if (!this.core.world) {
      this.reject(call, new ClientError("the client is in no room: join first"));
      return call.number;
    }
    const id = this.encode(call, () => this.core.command(name, payload));
    if (!id) return call.number;
    call.commandId = id;
    this.byCommand.set(id, call);
    this.deadlines.set(call.number, nowMs + timeoutMs);
    this.connection.commandAdded();
    this.sendCommands();
    return call.number;
  }

  /** Sends an input, in the game's units. Returns its sequence number; 0 if it was not sent: the client is not connected.
   *
   * @throws ClientError: the client is in no room. RangeError: the room declares no such input, or a value is not a number.
   * Disconnected: the connection was closed for good. */
  sendInput(values: Readonly<Record<string, number>>): number {
    if (!this.core.world) throw new ClientError("the client is in no room: join first");
    if (this.connection.phase === "closed") throw this.connection.disconnected();
    if (!this.isConnected) return 0;
    const { seq, data } = this.core.input(values);
    this.send(data);
    return seq;
  }

  /** Stops waiting for a call: a seat or a queue entry that it would get is released. Idempotent. */
  abandon(number: number, nowMs: number): void {
    this.nowMs = nowMs;
    const call = this.calls.get(number);
    if (call) this.end(call, true);
    else if (number && number === this.seatedCall && this.core.joined) this.send(this.core.leave()); // resolved, and not received
    if (call?.kind === "open") this.connection.close(NORMAL, "abandoned");
    this.flush();
  }

  /** Checks the path at once: the network changed, a timer was late, or the game is visible again. */
  networkChanged(nowMs: number): void {
    this.nowMs = nowMs;
    this.connection.networkChanged(nowMs);
  }

  /** Breaks the connection, as a bad network does. */
  drop(nowMs: number): void {
    this.nowMs = nowMs;
    this.connection.drop("dropped", nowMs);
  }

  /** Ends the session, its seat and its queue entry. Idempotent. */
  close(nowMs: number): void {
    this.nowMs = nowMs;
    if (this.connection.phase !== "closed") this.connection.close(NORMAL, "closed");
  }

  // -- the shell's events ---------------------------------------------------------------------------------

  tokenReceived(token: string, nowMs: number): void {
    this.nowMs = nowMs;
    if (this.isConnected) this.renew(token);
    else this.connection.tokenReceived(token, nowMs);
  }

  tokenFailed(reason: string, nowMs: number): void {
    this.nowMs = nowMs;
    this.connection.tokenFailed(reason, nowMs);
  }

  /** The WebSocket is open. */
  connected(nowMs: number): void {
    this.nowMs = nowMs;
    this.connection.connected(nowMs);
  }

  connectFailed(error: ConnectFailed, nowMs: number): void {
    this.nowMs = nowMs;
    this.connection.connectFailed(error, nowMs);
  }

  /** The newest connection has ended, and not by `close`.
   *
   * @param code: the close code; 0 without one. */
  connectionLost(code: number, reason: string, nowMs: number): void {
    this.nowMs = nowMs;
    this.connection.connectionLost(code, reason, nowMs);
  }

  /** The time of the last `setTimer` has come. */
  timerFired(nowMs: number): void {
    this.timerMs = null;
    this.deadlines.hasChanged = true;
    this.runDue(nowMs);
  }

  /** Applies a message of the newest connection. */
  messageReceived(data: Uint8Array, nowMs: number): void {
    const update = this.receive(data, nowMs);
    if (update) this.emit(update.type as keyof Events, update);
    this.received(nowMs);
  }

  /** The first half of `messageReceived`, for shells that save the command for nearly all messages: returns a state or an
   * acknowledgement, whose listeners the shell calls before `received`; null for all other messages. */
  receive(data: Uint8Array, nowMs: number): Update | null {
    const { phase } = this.connection;
    if (phase !== "hello" && phase !== "open") return null;
    this.connection.heartbeat.received();
    this.nowMs = nowMs;
    let update: Update | null;
    try {
      update = this.core.receive(data, nowMs);
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error;
      // The server would send it again after a reconnect.
      this.connection.close(PROTOCOL_ERROR, `the server sent a message that cannot be decoded: ${error.message}`);
      return null;
    }
    if (update?.type === "state" || update?.type === "acknowledged") return update;
    if (update) this.updateReceived(update, nowMs);
    return null;
  }

  /** The second half of `messageReceived`. */
  received(nowMs: number): void {
    if (this.core.outgoing.length) {
      this.flush();
      this.continueSeats(); // an abandoned Join may have been answered
    }
    if (this.timerMs !== null && this.timerMs <= nowMs) this.runDue(nowMs); // timers are late in a hidden page
  }

  // -- updates --------------------------------------------------------------------------------------------

  private updateReceived(update: Update, nowMs: number): void {
    if (update.type === "refused" && this.connection.phase === "hello") {
      this.emit("refused", new Refused(update.error));
      this.connection.refused(this.loginRefused(update.error), nowMs);
      this.continueSeats();
      return;
    }
    this.handle(update);
    this.answer(update);
    if (this.opening && this.isConnected) this.openAnswered(this.opening, update);
    this.continueSeats();
    this.followMove();
  }

  private continueSeats(): void {
    if (!this.core.isAbandoningJoin) this.seats.abandonedJoinAnswered(this.nowMs);
  }

  private handle(update: Update): void {
    switch (update.type) {
      case "welcomed":
        this.welcomed(update);
        break;
      case "redirected":
        if (update.redirect.isResume) this.moved(update.redirect.url);
        else if (update.isMove) this.move = update.redirect;
        break;
      case "joined":
        this.emit("joined", update.joined);
        this.connection.store();
        break;
      case "left":
        this.seatLost(update.reason);
        break;
      case "refused":
        this.emit("refused", new Refused(update.error));
        this.connection.refusal = update.error;
        break;
      case "eventsLost":
        this.emit("refused", new Refused(update.error));
        break;
      case "event":
        this.emit("event", update.event);
        break;
      case "reply": {
        const call = this.byCommand.get(Number(update.reply.id));
        if (call && update.isDecided) {
          if (update.reply.ok) this.resolve(call, update.reply);
          else this.reject(call, new CommandFailed(update.reply.error, update.reply.message));
        }
        this.sendCommands();
        break;
      }
      case "match":
        if (update.isCurrent) this.emit("match", update.status);
        break;
      case "pong":
        this.emit("pong", update);
        break;
      case "tokenExpiring":
        this.renewalUntilMs = this.nowMs + update.expiresInMs;
        this.requestRenewal();
        break;
      case "ended":
        this.connection.goodbye = update.goodbye;
        break;
    }
  }

  private welcomed(update: Extract<Update, { type: "welcomed" }>): void {
    const { connection } = this;
    if (connection.phase !== "hello") return;
    connection.welcomed(update.welcome, this.nowMs);
    this.resumes += update.hasResumed ? 1 : 0;
    this.sessionsLost += update.hasLostSession ? 1 : 0;
    this.flush();
    this.deadlines.cancel(RENEWAL);
    const renewal = this.calls.get(RENEWAL);
    if (renewal) this.end(renewal, false); // Hello had a token
    if (this.hasReportedLoss) {
      this.hasReportedLoss = false;
      this.emit("reconnected", { isSameSession: update.hasResumed });
    }
    if (update.hasLostSession) this.failCommands(SessionLost, "the session was lost");
    if (update.lostRoom) this.seatLost(update.welcome.leftReason || "the seat was lost while the client was disconnected");
    this.seats.welcomed(update.isJoinInFlight, this.nowMs);
    this.sendRequestsAgain();
    this.sendCommands();
    if (!this.opening) return;
    // After a restart of the program, the seat of the earlier run may follow.
    if (update.hasResumed && update.isJoinInFlight) this.deadlines.set(this.opening.number, this.nowMs + CALL_MS_MAX);
    else this.resolve(this.opening, null);
  }

  /** Ends `open` once the client has the seat of an earlier run of the program, or will not get it. */
  private openAnswered(opening: PendingCall, update: Update): void {
    const isRefused = update.type === "refused" && isAnswer(update.error, "Join");
    const isRedirected = update.type === "redirected" && !update.redirect.isResume;
    if (isRefused || isRedirected || update.type === "joined" || update.type === "left") this.resolve(opening, null);
  }

  private sendRequestsAgain(): void {
    const { matching } = this;
    if (matching?.request?.type === "MatchRequest") {
      this.send(matching.request.data);
      if (matching.isCancelled) this.send(this.core.matchCancel());
    }
    for (const [first] of [this.lists, this.authentications]) if (first?.request) this.send(first.request.data);
  }

  private moved(url: string): void {
    const error = this.connection.downgradeError(url);
    if (error) this.emit("error", { error, event: "redirect" });
    else this.connection.moved(url);
  }

  private seatLost(reason: string): void {
    this.failCommands(ClientError, "the seat was lost");
    this.emit("left", { reason });
    this.connection.store();
  }

  /** Enters the room to which the player is moved, once it has left its room. */
  private followMove(): void {
    const redirect = this.move;
    if (!redirect || this.core.joined) return;
    this.move = null;
    const before = this.calls.get(MOVE);
    if (before) this.end(before, true);
    const call = new PendingCall(MOVE, "move");
    call.redirect = redirect;
    this.calls.set(MOVE, call);
    this.seats.add(call, this.nowMs);
  }

  /** Passes an update to the oldest call whose request it answers. */
  private answer(update: Update): void {
    for (const call of this.calls.values()) {
      // A Join that waits for the answer to an abandoned one has not been sent.
      if (!call.request || call.step === "abandoned" || !answers(update, call.request)) continue;
      this.answered(call, update);
      return;
    }
  }

  private answered(call: PendingCall, update: Update): void {
    if (this.seats.active === call) this.seats.answered(call, update, this.nowMs);
    else if (update.type === "refused") this.reject(call, new Refused(update.error));
    else if (update.type === "rooms") this.resolve(call, update);
    else if (update.type === "authenticated") {
      this.connection.authenticated(call.token);
      this.resolve(call, update);
    }
    else if (update.type === "match") {
      const { state, reason } = update.status;
      this.reject(call, call.isLate ? new TimeoutError(`no match was found within ${call.timeoutMs / 1000} s`) : new NotMatched(state, reason));
    } else if (update.type === "redirected") {
      call.request = null;
      call.redirect = update.redirect;
      this.deadlines.cancel(call.number);
      this.seats.add(call, this.nowMs);
    }
  }

  // -- the connection's events ----------------------------------------------------------------------------

  disconnected(reason: string): void {
    this.deadlines.cancel(COMMANDS);
    this.hasReportedLoss = true;
    this.emit("disconnected", { reason });
  }

  closed(error: Disconnected | Refused): void {
    this.seats.clear();
    this.deadlines.clear();
    this.lists.length = this.authentications.length = 0;
    this.connection.loginToken = "";
    for (const call of [...this.calls.values()]) this.reject(call, call.kind === "open" ? error : this.connection.disconnected());
    this.emit("closed", this.connection.disconnected());
  }

  // -- time -----------------------------------------------------------------------------------------------

  private runDue(nowMs: number): void {
    this.nowMs = nowMs;
    for (let due = this.deadlines.popDue(nowMs); due; due = this.deadlines.popDue(nowMs)) {
      const [key, dueMs] = due;
      const call = this.calls.get(key);
      if (key === ATTEMPT) this.connection.attemptDue(dueMs, nowMs);
      else if (key === HEARTBEAT) this.connection.heartbeatDue(dueMs, nowMs);
      else if (key === COMMANDS) this.sendCommands();
      else if (call) this.callDue(call);
      else if (key === RENEWAL && this.isConnected) this.requestRenewal();
    }
    this.flush();
  }

  private callDue(call: PendingCall): void {
    if (this.seats.active === call) this.seats.deadlineDue(call, this.nowMs);
    else if (call.kind === "open") this.resolve(call, null);
    else if (call.kind === "match" && !call.isLate) {
      call.isLate = call.isCancelled = true;
      this.deadlines.set(call.number, this.nowMs + CANCEL_MS_MAX);
      this.send(this.core.matchCancel());
    } else this.reject(call, new TimeoutError("no answer in time"));
  }

  // -- tokens ---------------------------------------------------------------------------------------------

  private addAuthentication(call: PendingCall, token: string): void {
    const data = this.encode(call, () => this.core.authenticate(token));
    if (!data) return;
    call.request = { type: "Authenticate", data };
    call.token = token;
    if (this.authentications.push(call) === 1) this.beginAuthentication(call);
  }

  private beginAuthentication(call: PendingCall): void {
    if (call.kind === "authenticate") this.connection.loginToken = call.token;
    this.begin(call);
  }

  /** Returns the Error that answers a Hello. One with the token of a login ends the login, not the session. */
  private loginRefused(error: ErrorMessage): ErrorMessage {
    if (error.retryable || !this.connection.loginToken) return error;
    this.reject(this.authentications[0]!, new Refused(error));
    return { ...error, retryable: true };
  }

  /** Requests a new token, now and after a pause, until the token of the session expires. */
  private requestRenewal(): void {
    this.commands.push({ type: "requestToken" });
    this.tryRenewalLater(RENEWAL_MS);
  }

  private tryRenewalLater(pauseMs: number): void {
    if (this.nowMs + pauseMs < this.renewalUntilMs) this.deadlines.set(RENEWAL, this.nowMs + pauseMs);
  }

  private renew(given: string): void {
    const token = this.connection.renewedToken(given);
    if (!token || this.calls.has(RENEWAL)) return;
    const call = new PendingCall(RENEWAL, "renewal");
    this.calls.set(RENEWAL, call);
    this.addAuthentication(call, token);
  }

  // -- parts ----------------------------------------------------------------------------------------------

  private newCall(kind: CallKind): PendingCall {
    const call = new PendingCall(++this.lastCall, kind);
    this.calls.set(call.number, call);
    return call;
  }

  private checkOpen(call: PendingCall): boolean {
    if (this.connection.phase !== "closed") return true;
    this.reject(call, this.connection.disconnected());
    return false;
  }

  /** Encodes the message of a call. Rejects the call and returns null if it cannot be sent. */
  private encode<T>(call: PendingCall, encode: () => T): T | null {
    if (!this.checkOpen(call)) return null;
    try {
      return encode();
    } catch (error) {
      this.reject(call, error as Error); // a ClientError, or the game's values cannot be encoded
      return null;
    }
  }

  private begin(call: PendingCall): void {
    this.deadlines.set(call.number, this.nowMs + CALL_MS_MAX);
    if (call.request) this.send(call.request.data);
  }

  /** Sends a message, if the session is open. */
  send(data: Uint8Array): void {
    if (this.isConnected) this.commands.push({ type: "send", data });
  }

  /** Sends the core's own messages. Without a connection they wait for the next one. */
  private flush(): void {
    if (this.isConnected) for (const data of this.core.outgoing.splice(0)) this.send(data);
  }

  /** Sends the commands that are due, and sets the deadline of the next one. */
  private sendCommands(): void {
    if (!this.isConnected) return;
    for (const data of this.core.commandsDue(this.nowMs)) this.send(data);
    const nextMs = this.core.nextCommandMs(this.nowMs);
    if (nextMs === null) this.deadlines.cancel(COMMANDS);
    else this.deadlines.set(COMMANDS, nextMs);
  }

  private emit(event: keyof Events, value: unknown): void {
    this.commands.push({ type: "emit", event, value });
  }

  private failCommands(kind: new (message: string) => ClientError, reason: string): void {
    for (const call of [...this.byCommand.values()]) this.reject(call, new kind(`${reason} before the room answered ${call.name}`));
  }

  // -- the end of a call ----------------------------------------------------------------------------------

  resolve(call: PendingCall, value: unknown): void {
    if (call.kind === "join" || call.kind === "match") this.seatedCall = call.number;
    if (call.kind !== "move" && call.kind !== "renewal") this.commands.push({ type: "resolve", call: call.number, value });
    this.end(call, false);
  }

  /** Ends a call with an error. A move has no caller: its error is reported. A renewal is tried again. */
  reject(call: PendingCall, error: Error): void {
    if (call.kind === "move") this.emit("error", { error, event: "joined" });
    else if (call.kind !== "renewal") this.commands.push({ type: "reject", call: call.number, error });
    this.end(call, !(error instanceof NotMatched));
    const refused = error instanceof Refused ? error : null;
    if (call.kind === "renewal" && this.isConnected && refused?.isRetryable !== false) this.tryRenewalLater(Math.max(RENEWAL_MS, refused?.retryAfterMs ?? 0));
  }

  /** Removes a call, and begins the next of its kind.
   *
   * @param isFailure: a match leaves the queue. */
  private end(call: PendingCall, isFailure: boolean): void {
    this.calls.delete(call.number);
    this.deadlines.cancel(call.number);
    if (call === this.opening) this.opening = null;
    if (call === this.matching) {
      this.matching = null;
      if (isFailure) {
        this.core.abandonMatch();
        this.flush();
      }
    }
    if (call.commandId) {
      this.byCommand.delete(call.commandId);
      this.core.abandonCommand(call.commandId);
      this.sendCommands();
    }
    const index = this.lists.indexOf(call);
    if (index >= 0) this.lists.splice(index, 1);
    if (index === 0 && this.lists[0]) this.begin(this.lists[0]);
    const token = this.authentications.indexOf(call);
    if (token >= 0) this.authentications.splice(token, 1);
    if (token === 0) {
      this.connection.loginToken = "";
      if (this.authentications[0]) this.beginAuthentication(this.authentications[0]);
    }
    this.seats.remove(call, this.nowMs);
  }
}

/** The connections of a session machine: attempts, Hello, heartbeat, loss, redirects and the final close. Pure.
 *
 *     closed --open--> token --> opening --> hello --Welcome--> open
 *                        ^  └---------└---------└--failed--┐      │
 *                        └------------- pause <------------┴-lost-┘
 *     any phase --final close, final error, time over, close()--> closed
 *
 * `ReconnectPlan` says when and where; here the steps of an attempt follow each other. Each step has a time limit. The session
 * machine handles the messages, and owns the deadlines and the list of commands. */

import { advisedMs, isFinal, NORMAL, RECONNECT } from "./close_codes.js";
import type { ClientCore } from "./core.js";
import { ATTEMPT, type Deadlines, HEARTBEAT } from "./deadlines.js";
import { ClientError, ConnectFailed, Disconnected, Refused } from "./errors.js";
import { Heartbeat, pingIntervalMs } from "./heartbeat.js";
import type { MachineCommand } from "./machine_commands.js";
import { ReconnectPlan } from "./reconnect.js";
import { ATTEMPTS_AHEAD, COMMANDS_AHEAD, playerFromToken, type StoredSession, storedSessionFrom, toText } from "./stored_session.js";
import type { ErrorMessage, GoodbyeMessage, WelcomeMessage } from "./types.js";

const CONNECT_MS_MAX = 5_000;
const HELLO_MS_MAX = 10_000;

export type SessionState = "connecting" | "connected" | "reconnecting" | "closed";
type Phase = "closed" | "pause" | "token" | "opening" | "hello" | "open";

export interface MachineOptions {
  /** The address of the first connection. */
  readonly url: string;
  /** The game's version. */
  readonly build: string;
  /** How long the client tries to reconnect; 0 disables reconnecting. */
  readonly reconnectMs: number;
  /** Whether `storeSession` and `clearSession` are returned. */
  readonly hasStorage: boolean;
}

/** The part of the machine above the connection. */
export interface ConnectionUser {
  /** The open connection was lost; the machine reconnects. */
  disconnected(reason: string): void;
  closed(error: Disconnected | Refused): void;
}

export class ConnectionMachine {
  phase: Phase = "closed";
  state: SessionState = "closed";
  /** The address of the newest attempt. */
  url: string;
  /** The server's Goodbye on the newest connection. */
  goodbye: GoodbyeMessage | null = null;
  /** The newest Error on it. */
  refusal: ErrorMessage | null = null;
  heartbeat = new Heartbeat();

  private readonly plan: ReconnectPlan;
  private closeCode = 0;
  private closeReason = "never connected";
  private isFirst = true;
  private visitedUrl = "";
  /** Of an Authenticate without an answer: Hello has it, because the server may have adopted it. */
  loginToken = "";
  private token = "";
  /** The application's newest token, that of the last login, and the application's token that it has replaced. */
  private givenToken = "";
  private adoptedToken = "";
  private replacedToken: string | null = null;
  private pingMs = 0;
  private stored: StoredSession | null = null;
  /** The newest `storeSession`. */
  private saved: StoredSession | null = null;

  /** @param deadlines: receives ATTEMPT and HEARTBEAT.
   * @param commands: the commands are appended to it.
   * @param random: returns random numbers from 0 to 1; spreads the attempts. */
  constructor(
    private readonly options: MachineOptions,
    private readonly core: ClientCore,
    private readonly deadlines: Deadlines,
    private readonly commands: MachineCommand[],
    random: () => number,
    private readonly user: ConnectionUser,
  ) {
    this.url = options.url;
    this.plan = new ReconnectPlan(options.url, options.reconnectMs, random);
  }

  /** The address of the session's shard. */
  get sessionUrl(): string {
    return this.plan.url;
  }

  private get hasSocket(): boolean {
    return this.phase === "opening" || this.phase === "hello" || this.phase === "open";
  }

  /** Returns the reason of the last close as an error. */
  disconnected(): Disconnected {
    return new Disconnected(`the connection is lost: ${this.closeReason}`, this.goodbye, this.closeCode);
  }

  /** Returns an error if an address would carry the token over a plain connection. */
  downgradeError(url: string): ClientError | null {
    const isDowngrade = this.options.url.startsWith("wss:") && !url.startsWith("wss:");
    return isDowngrade ? new ClientError(`redirected to ${url}: the token is not sent over a plain connection`) : null;
  }

  // -- the session ----------------------------------------------------------------------------------------

  /** Begins the first attempt.
   *
   * @param stored: the text of the last `storeSession`, or empty. */
  open(stored: string, nowMs: number): void {
    this.state = "connecting";
    if (stored) {
      this.stored = storedSessionFrom(stored, this.options.url);
      if (!this.stored) this.clearStored();
    }
    this.requestToken(nowMs);
  }

  /** Ends this session and begins a new one on another shard, or at the initial URL if that shard fails. */
  visit(url: string, nowMs: number): void {
    if (this.phase === "open") this.commands.push({ type: "send", data: this.core.endSession() });
    if (this.hasSocket) this.commands.push({ type: "close", code: this.phase === "open" ? NORMAL : RECONNECT, reason: "redirected" });
    this.deadlines.cancel(HEARTBEAT);
    this.core.discardSession();
    this.visitedUrl = url;
    this.plan.visit(url, nowMs);
    this.state = "connecting";
    this.nextAttempt(nowMs);
  }

  /** Records that the session is on another shard. The server closes, and the next attempt goes there. */
  moved(url: string): void {
    this.plan.redirected(url);
  }

  /** Ends the connection for good with this code; 1000 also ends the session. `closed` follows. */
  close(code: number, reason: string): void {
    if (code === NORMAL && this.phase === "open") this.commands.push({ type: "send", data: this.core.endSession() });
    if (this.hasSocket) this.commands.push({ type: "close", code, reason });
    if (code === NORMAL) this.clearStored();
    this.closeReason = reason;
    this.finish(this.disconnected());
  }

  /** Breaks the open connection, or an attempt. */
  drop(reason: string, nowMs: number): void {
    if (!this.hasSocket) return;
    this.commands.push({ type: "close", code: RECONNECT, reason });
    if (this.phase === "open") this.lost(0, reason, nowMs);
    else this.failed(new Disconnected(reason), nowMs);
  }

  /** Checks the path, or attempts to connect at once. */
  networkChanged(nowMs: number): void {
    if (this.phase === "open") this.probe(nowMs);
    else if (this.state === "reconnecting" && this.phase !== "token") {
      // An attempt on the previous network may hang.
      if (this.hasSocket) this.commands.push({ type: "close", code: RECONNECT, reason: "another attempt" });
      this.plan.restart(nowMs);
      this.requestToken(nowMs);
    }
  }

  // -- an attempt -----------------------------------------------------------------------------------------

  private nextAttempt(nowMs: number): void {
    const attempt = this.plan.next(nowMs);
    if (!attempt) {
      this.finish(new Disconnected(`could not reconnect within ${this.options.reconnectMs / 1000} s: ${this.closeReason}`, this.goodbye));
      return;
    }
    this.url = attempt.url;
    if (attempt.pauseMs > 0) {
      this.phase = "pause";
      this.deadlines.set(ATTEMPT, nowMs + attempt.pauseMs);
    } else this.requestToken(nowMs);
  }

  private requestToken(nowMs: number): void {
    this.phase = "token";
    this.deadlines.set(ATTEMPT, nowMs + HELLO_MS_MAX);
    this.commands.push({ type: "requestToken" });
  }

  tokenReceived(token: string, nowMs: number): void {
    if (this.phase !== "token") return;
    this.token = this.pickToken(token);
    if (this.stored) this.restore(this.stored, nowMs);
    this.phase = "opening";
    this.goodbye = this.refusal = null;
    this.closeCode = 0;
    this.deadlines.set(ATTEMPT, nowMs + CONNECT_MS_MAX);
    this.commands.push({ type: "connect", url: this.url });
  }

  /** Returns the token to use: the application may still return the one that a login has replaced. */
  private pickToken(token: string): string {
    this.givenToken = token;
    return token === this.replacedToken ? this.adoptedToken : token;
  }

  /** Returns the token with which the session can be renewed; empty if the application has no other one. */
  renewedToken(given: string): string {
    const token = this.pickToken(given);
    return token === this.token ? "" : token;
  }

  /** Uses the token with which the session has authenticated from now on. */
  authenticated(token: string): void {
    this.token = this.adoptedToken = token;
    this.replacedToken = this.givenToken;
    this.store();
  }

  /** Counts a failed attempt: the application has no token. */
  tokenFailed(reason: string, nowMs: number): void {
    if (this.phase === "token") this.failed(new Disconnected(reason), nowMs);
  }

  /** Sends Hello: the WebSocket is open. */
  connected(nowMs: number): void {
    if (this.phase !== "opening") return;
    this.phase = "hello";
    this.deadlines.set(ATTEMPT, nowMs + HELLO_MS_MAX);
    let data: Uint8Array;
    try {
      data = this.core.hello(this.options.build, this.loginToken || this.token);
    } catch (error) {
      if (!(error instanceof ClientError)) throw error;
      this.commands.push({ type: "close", code: RECONNECT, reason: "no Hello" }); // the token is too large
      this.failed(new Disconnected(error.message), nowMs);
      return;
    }
    if (this.saved && this.core.attempt >= this.saved.attempt) this.store();
    this.commands.push({ type: "send", data });
  }

  /** Counts a failed attempt: the WebSocket could not be opened. */
  connectFailed(error: ConnectFailed, nowMs: number): void {
    if (this.phase === "opening") this.failed(error, nowMs);
  }

  /** Handles the server's refusal of the Hello, which ends the attempt. */
  refused(error: ErrorMessage, nowMs: number): void {
    this.commands.push({ type: "close", code: RECONNECT, reason: "refused" });
    this.failed(new Refused(error), nowMs);
  }

  /** Begins the session on this connection: the resume token is saved and confirmed. */
  welcomed(welcome: WelcomeMessage, nowMs: number): void {
    this.phase = "open";
    this.state = "connected";
    this.isFirst = false;
    this.visitedUrl = "";
    this.plan.connected(this.url, nowMs);
    this.deadlines.cancel(ATTEMPT);
    this.store();
    this.heartbeat = new Heartbeat();
    this.pingMs = pingIntervalMs(welcome.heartbeatIntervalMs);
    this.ping(nowMs);
  }

  /** Handles the end of the newest connection.
   *
   * @param code: the close code; 0 without one. */
  connectionLost(code: number, reason: string, nowMs: number): void {
    this.closeCode = code;
    const text = reason || `close code ${code}`;
    if (this.phase === "opening") this.failed(new ConnectFailed(`cannot connect to ${this.url}: ${text}`), nowMs);
    else if (this.phase === "hello") this.failed(new Disconnected(`the connection is lost: ${text}`, this.goodbye, code), nowMs);
    else if (this.phase === "open") this.lost(code, text, nowMs);
  }

  private failed(error: Disconnected | Refused, nowMs: number): void {
    this.phase = "pause";
    this.closeReason = error.message;
    const wasRefused = error instanceof Refused;
    const hasFailed = error instanceof ConnectFailed; // such a handshake is tried again: a proxy may refuse it while it is reloaded
    const isOver = wasRefused ? !error.isRetryable : !hasFailed && isFinal(error.code, error.goodbye);
    // Another shard's refusal leads to the initial URL, whose own refusal counts.
    const isVisit = this.url === this.visitedUrl && this.url !== this.options.url;
    if (this.isFirst || (isOver && !isVisit)) {
      this.finish(error);
      return;
    }
    this.plan.failed(wasRefused || hasFailed ? error.retryAfterMs : 0, wasRefused);
    this.nextAttempt(nowMs);
  }

  private lost(code: number, reason: string, nowMs: number): void {
    this.phase = "pause";
    this.closeReason = reason;
    this.deadlines.cancel(HEARTBEAT);
    if (!this.options.reconnectMs || isFinal(code, this.goodbye)) {
      this.finish(this.disconnected());
      return;
    }
    this.plan.lost(nowMs, advisedMs(code, this.goodbye, this.refusal));
    this.state = "reconnecting";
    this.user.disconnected(reason);
    this.nextAttempt(nowMs);
  }

  private finish(error: Disconnected | Refused): void {
    this.phase = this.state = "closed";
    this.user.closed(error);
  }

  // -- time -----------------------------------------------------------------------------------------------

  /** Handles the deadline ATTEMPT: the pause is over, or a step took too long. */
  attemptDue(dueMs: number, nowMs: number): void {
    this.plan.extend(nowMs - dueMs);
    if (this.phase === "pause") this.requestToken(nowMs);
    else if (this.phase === "token") this.failed(new Disconnected("no token in time"), nowMs);
    else if (this.phase === "opening") {
      this.commands.push({ type: "close", code: RECONNECT, reason: "no connection in time" });
      this.failed(new ConnectFailed(`cannot connect to ${this.url}: no answer in time`), nowMs);
    } else if (this.phase === "hello") {
      this.commands.push({ type: "close", code: RECONNECT, reason: "no Welcome in time" });
      this.failed(new Disconnected("the server did not answer the Hello"), nowMs);
    }
  }

  /** Handles the deadline HEARTBEAT: sends a Ping, or ends a connection on which nothing arrives. */
  heartbeatDue(dueMs: number, nowMs: number): void {
    if (nowMs - dueMs >= this.pingMs) this.probe(nowMs); // the timer was late: the silence proves nothing
    else this.ping(nowMs);
  }

  private ping(nowMs: number): void {
    if (!this.heartbeat.pinged()) {
      const reason = "the server does not answer pings";
      this.commands.push({ type: "close", code: RECONNECT, reason });
      this.lost(0, reason, nowMs);
      return;
    }
    if (this.saved && this.saved.lastEvent !== this.core.eventNumber) this.store();
    this.sendPing(nowMs);
  }

  private probe(nowMs: number): void {
    this.heartbeat.probed();
    this.sendPing(nowMs);
  }

  private sendPing(nowMs: number): void {
    this.commands.push({ type: "send", data: this.core.ping(nowMs) });
    this.deadlines.set(HEARTBEAT, nowMs + this.pingMs);
  }

  // -- storage --------------------------------------------------------------------------------------------

  /** Saves the session, if it can be resumed. */
  store(): void {
    const { core, saved } = this;
    if (!this.options.hasStorage || !core.resumeToken) return;
    const ahead = (now: number, limit: number, step: number) => (now < limit ? limit : now + step);
    this.saved = {
      url: saved && this.phase !== "open" ? saved.url : this.plan.url,
      initialUrl: this.options.url,
      player: playerFromToken(this.token),
      resumeToken: core.resumeToken,
      lastEvent: core.eventNumber,
      attempt: ahead(core.attempt, saved?.attempt ?? 0, ATTEMPTS_AHEAD),
      commandId: ahead(core.commandId, saved?.commandId ?? 0, COMMANDS_AHEAD),
    };
    this.commands.push({ type: "storeSession", text: toText(this.saved) });
  }

  /** Saves the session if its saved command id is reached. */
  commandAdded(): void {
    if (this.saved && this.core.commandId >= this.saved.commandId) this.store();
  }

  private restore(stored: StoredSession, nowMs: number): void {
    this.stored = null;
    if (stored.player !== playerFromToken(this.token)) {
      this.clearStored();
      return;
    }
    this.isFirst = false;
    this.core.restore(stored);
    this.saved = stored;
    this.visitedUrl = stored.url;
    this.plan.visit(stored.url, nowMs);
    this.url = this.plan.next(nowMs)?.url ?? stored.url;
  }

  private clearStored(): void {
    this.saved = null;
    if (this.options.hasStorage) this.commands.push({ type: "clearSession" });
  }
}

/** One session over successive connections: Hello, resume, redirects and final closes.
 *
 *     connecting --Welcome--> connected --lost--> reconnecting --Welcome--> connected     (the same session, or a new one)
 *         └---------------------------└----------------└--time over, final close, closed--> closed
 */

import { advisedMs, isFinal, NORMAL, RECONNECT } from "./close_codes.js";
import { Connection, type Socket } from "./connection.js";
import { ClientCore, type Update } from "./core.js";
import { Disconnected, Refused, ClientError } from "./errors.js";
import { listenForHints } from "./hints.js";
import { SUBPROTOCOL } from "./messages.js";
import { Retry } from "./retry.js";
import type { GoodbyeMessage, WelcomeMessage } from "./types.js";

const HELLO_MS_MAX = 10_000;
const RECONNECT_MS_MAX = 60_000;
/** The minimum time in which a client that left its session for another shard tries to open a new one. */
const VISIT_MS = 10_000;
/** A connection that is lost before this time continues the previous series of attempts. */
const STABLE_MS = 5_000;

export interface SessionOptions {
  /** The player's token. A function is called for every connection. */
  readonly token?: string | (() => string | Promise<string>);
  /** The game's version, for the server's logs. */
  readonly build?: string;
  /** How long the client tries to reconnect after a lost connection; 0 disables reconnecting. */
  readonly reconnectMs?: number;
  /** Creates a WebSocket; by default the platform's own. */
  readonly socket?: (url: string, subprotocol: string) => Socket;
  /** A monotonic clock, milliseconds. */
  readonly now?: () => number;
}

export type SessionState = "connecting" | "connected" | "reconnecting" | "closed";

export interface SessionListener {
  /** Each update, in order. `isReconnect`: a Welcome on a connection that replaces a lost one. */
  updated(update: Update, isReconnect: boolean): void;
  disconnected(reason: string): void;
  closed(error: ClientError): void;
  /** An exception of a function that the application passed, or an invalid redirect. */
  failed(error: unknown, where: string): void;
}

export class Session {
  readonly core = new ClientCore();
  state: SessionState = "connecting";
  goodbye: GoodbyeMessage | null = null;
  bytesReceived = 0;
  readonly now: () => number;

  private readonly initialUrl: string;
  private connection: Connection | null = null;
  private refusal: Refused | null = null;
  /** Why the session is closed; null while it is not. */
  private closeError: ClientError | null = null;
  private retry: Retry;
  private welcomedMs = -Infinity;
  private hasMoved = false;
  private stopWaiting: () => void = () => undefined;
  private readonly stopHints: () => void;

  constructor(
    public url: string,
    private readonly options: SessionOptions,
    private readonly listener: SessionListener,
  ) {
    this.initialUrl = url;
    this.now = options.now ?? (() => performance.now());
    this.retry = new Retry(this.limitMs);
    this.stopHints = listenForHints(() => this.wake());
  }

  /** Connects for the first time.
   *
   * @throws Disconnected, Refused. Exceptions of the token function pass through. */
  async open(): Promise<void> {
    try {
      await this.connect(this.url);
    } catch (error) {
      this.finish(asError(error));
      throw error;
    }
  }

  /** Sends a message. Returns false if there is no open connection. */
  send(data: Uint8Array): boolean {
    return this.state === "connected" && this.connection !== null && this.connection.send(data);
  }

  /** Holds later messages back until the promises that this task settled have run. */
  hold(): void {
    this.connection?.hold();
  }

  /** Ends the session on the client and the server. Idempotent. */
  close(error: ClientError): void {
    if (this.state === "closed") return;
    this.send(this.core.endSession());
    this.finish(error);
  }

  /** Drops the connection, as a bad network does. */
  drop(): void {
    this.connection?.close(RECONNECT, "dropped");
  }

  /** Ends this session and begins one at another address. Returns false if that address cannot be reached; the client is then
   * connected to its initial URL.
   *
   * @throws Disconnected, Refused: the initial URL cannot be reached either, and the client is closed. */
  async moveTo(url: string): Promise<boolean> {
    this.checkScheme(url);
    this.send(this.core.endSession());
    this.state = "connecting";
    this.disconnect(NORMAL, "redirected");
    this.core.discardSession();
    try {
      await this.connect(url);
      return true;
    } catch {
      // Gateways refuse in various ways. After any error the initial URL is tried.
      if (this.closeError) throw this.closeError;
    }
    try {
      this.url = this.initialUrl;
      this.hasMoved = true;
      this.retry = new Retry(Math.max(this.limitMs, VISIT_MS));
      await this.reconnect(0);
      return false;
    } catch (error) {
      this.finish(asError(error));
      throw error;
    }
  }

  // -- one connection -------------------------------------------------------------------------------------

  /** @throws Disconnected, Refused. Exceptions of the token function pass through. */
  private async connect(url: string): Promise<void> {
    this.goodbye = this.refusal = null;
    const token = await this.token();
    if (this.closeError) throw this.closeError;
    await new Promise<void>((resolve, reject) => {
      let isWelcomed = false;
      let isOpen = false;
      const connection = new Connection(this.makeSocket(url), this.now, {
        opened: () => {
          isOpen = true;
          connection.send(this.core.hello(this.options.build ?? "tickwire-web", token));
        },
        received: (data) => {
          if (this.connection !== connection) return;
          const welcome = this.receive(data, connection);
          if (!welcome) return;
          isWelcomed = true;
          this.url = url;
          clearTimeout(timer);
          resolve();
        },
        ended: (code, reason) => {
          clearTimeout(timer);
          const isCurrent = this.connection === connection;
          if (isCurrent) this.connection = null;
          if (!isWelcomed) reject(this.closeError ?? this.refusal ?? this.failure(isOpen ? "" : url, code, reason));
          else if (isCurrent) this.lost(code, reason);
        },
      });
      this.connection = connection;
      const timer = setTimeout(() => connection.close(RECONNECT, "no Welcome in time"), HELLO_MS_MAX);
    });
  }

  private token(): Promise<string> {
    const { token } = this.options;
    if (typeof token !== "function") return Promise.resolve(token ?? "");
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Disconnected("no token in time")), HELLO_MS_MAX);
      const stop = () => clearTimeout(timer);
      Promise.resolve().then(token).then(resolve, reject).then(stop);
    });
  }

  private makeSocket(url: string): Socket {
    const make = this.options.socket ?? ((to: string, protocol: string) => new WebSocket(to, protocol) as Socket);
    try {
      return make(url, SUBPROTOCOL);
    } catch (error) {
      throw new Disconnected(`cannot connect to ${url}: ${asError(error).message}`);
    }
  }

  /** Applies one message. Returns whether it was the Welcome. */
  private receive(data: Uint8Array, connection: Connection): boolean {
    this.bytesReceived += data.length;
    let update: Update | null;
    try {
      update = this.core.receive(data, this.now());
    } catch (error) {
      this.close(asError(error)); // after a reconnect the server would send the same message again
      return false;
    }
    const isReconnect = this.state === "reconnecting";
    if (update?.type === "welcomed") this.welcomed(update.welcome, connection);
    for (const message of this.core.outgoing.splice(0)) this.send(message);
    if (update?.type === "refused") this.refusal = new Refused(update.error);
    else if (update?.type === "ended") this.goodbye = update.goodbye;
    else if (update) this.refusal = null; // the error was not about the connection
    if (update?.type === "redirected" && update.redirect.isResume) this.moved(update.redirect.url);
    if (update) this.listener.updated(update, isReconnect);
    return update?.type === "welcomed";
  }

  private welcomed(welcome: WelcomeMessage, connection: Connection): void {
    this.state = "connected";
    this.hasMoved = false;
    this.welcomedMs = this.now();
    // The first ping is sent immediately, and confirms that the resume token arrived.
    connection.startHeartbeat(welcome.heartbeatIntervalMs, () => this.core.ping(this.now()));
  }

  /** Records that the session moved to another shard: the server closes now, and the next connection goes there. */
  private moved(url: string): void {
    try {
      this.checkScheme(url);
    } catch (error) {
      this.listener.failed(error, "redirect");
      return;
    }
    this.url = url;
    this.hasMoved = true;
  }

  private checkScheme(url: string): void {
    if (this.initialUrl.startsWith("wss:") && !url.startsWith("wss:")) {
      throw new ClientError(`redirected to ${url}: the token is not sent over a plain connection`);
    }
  }

  /** @param refusedBy: the address, if the WebSocket handshake failed. */
  private failure(refusedBy: string, code: number, reason: string): Disconnected {
    if (refusedBy) return new Disconnected(connectFailure(refusedBy, code, reason));
    return new Disconnected(closed(code, reason), this.goodbye, code);
  }

  private disconnect(code: number, reason: string): void {
    const { connection } = this;
    this.connection = null;
    connection?.close(code, reason);
  }

  // -- reconnecting ---------------------------------------------------------------------------------------

  private get limitMs(): number {
    return this.options.reconnectMs ?? RECONNECT_MS_MAX;
  }

  private lost(code: number, reason: string): void {
    if (this.closeError) return;
    if (isFinal(code, this.goodbye) || !this.limitMs) {
      this.finish(this.refusal ?? this.failure("", code, reason));
      return;
    }
    if (this.now() - this.welcomedMs >= STABLE_MS) this.retry = new Retry(this.limitMs);
    this.retry.lost();
    this.state = "reconnecting";
    this.listener.disconnected(closed(code, reason));
    this.reconnect(advisedMs(code, this.goodbye, this.refusal)).catch((error: unknown) => this.finish(asError(error)));
  }

  /** Reconnects, with as many attempts as the plan allows.
   *
   * @param adviceMs: the delay that the server advised; 0 without advice.
   * @throws ClientError: the last error is final, or the time is over. */
  private async reconnect(adviceMs: number): Promise<void> {
    for (;;) {
      if (this.hasMoved) this.retry.redirected();
      this.hasMoved = false;
      const attempt = this.retry.next(adviceMs);
      if (!attempt) throw new Disconnected("the server cannot be reached", this.goodbye);
      await this.pause(attempt.waitMs);
      const began = this.now();
      try {
        await this.connect(attempt.isInitialUrl ? this.initialUrl : this.url);
        return;
      } catch (error) {
        if (this.closeError || isDefinite(error)) throw error;
        const wasRefused = error instanceof Refused;
        this.retry.failed(this.now() - began, wasRefused);
        adviceMs = wasRefused ? error.retryAfterMs : (this.goodbye?.retryAfterMs ?? 0);
      }
    }
  }

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.stopWaiting = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Probes or reconnects at once: the network may work again or have changed, and timers may have been late. */
  private wake(): void {
    if (this.state === "connected") this.connection?.probe();
    if (this.state !== "reconnecting") return;
    this.retry.restart();
    this.stopWaiting();
    this.disconnect(RECONNECT, "another attempt"); // an attempt on the previous network may hang
  }

  private finish(error: ClientError): void {
    if (this.closeError) return;
    this.closeError = error;
    this.state = "closed";
    this.stopHints();
    this.stopWaiting();
    this.disconnect(NORMAL, "closed");
    this.listener.closed(error);
  }
}

/** Returns whether the error of an attempt is final. */
function isDefinite(error: unknown): boolean {
  if (error instanceof Refused) return !error.isRetryable;
  return error instanceof Disconnected && error.code > 0 && isFinal(error.code, error.goodbye);
}

function asError(error: unknown): ClientError {
  return error instanceof ClientError ? error : new ClientError(error instanceof Error ? error.message : String(error));
}

function closed(code: number, reason: string): string {
  return reason ? `${reason} (${code})` : `closed with ${code}`;
}

/** Describes a failed handshake. Browsers hide the reason, so the message lists the likely causes. */
function connectFailure(url: string, code: number, reason: string): string {
  const { location } = globalThis as { location?: { origin: string } };
  const causes = location
    ? `Likely causes: no server listens there; it does not accept this page's origin ${location.origin} (edge.origins in its ` +
      `settings, a line in its log); a proxy does not pass WebSockets on; the page is https and the address is not wss.`
    : "";
  return `cannot connect to ${url}: ${reason || `the handshake failed (${code})`}. ${causes}`.trim();
}

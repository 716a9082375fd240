/** One session over the connections that it has, one after the other: Hello, resume, redirects, and what is final.
 *
 *     connecting --Welcome--> open --lost--> away --Welcome--> open     (the same session, or a new one)
 *         └----------------------└-------------└--in vain, final, closed--> closed
 */

import { isFinal, NORMAL, RECONNECT } from "./close_codes.js";
import { Connection, type Socket } from "./connection.js";
import { ClientCore, type Update } from "./core.js";
import { Disconnected, Refused, TickwireError } from "./errors.js";
import { listenForHints } from "./hints.js";
import { type GoodbyeMessage, SUBPROTOCOL, type WelcomeMessage } from "./messages.js";
import { Retry } from "./retry.js";

const HELLO_MS_MAX = 10_000;
const RECONNECT_MS_MAX = 60_000;
/** A connection that is lost sooner continues the series of attempts before it. */
const STABLE_MS = 5_000;

export interface SessionOptions {
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

export type SessionState = "connecting" | "open" | "away" | "closed";

export interface SessionListener {
  /** Each update, in order. `isReturn`: a Welcome on a connection that replaces a lost one. */
  updated(update: Update, isReturn: boolean): void;
  away(reason: string): void;
  closed(error: TickwireError): void;
  /** An exception in what the application has given. */
  failed(error: unknown, where: string): void;
}

export class Session {
  readonly core = new ClientCore();
  state: SessionState = "connecting";
  goodbye: GoodbyeMessage | null = null;
  bytesReceived = 0;
  readonly now: () => number;

  private readonly home: string;
  private connection: Connection | null = null;
  private refusal: Refused | null = null;
  /** Why it is closed. */
  private ending: TickwireError | null = null;
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
    this.home = url;
    this.now = options.now ?? (() => performance.now());
    this.retry = new Retry(this.limitMs);
    this.stopHints = listenForHints(() => this.wake());
  }

  /** Connects for the first time.
   *
   * @throws Disconnected, Refused; what the token's function throws. */
  async open(): Promise<void> {
    try {
      await this.connect(this.url);
    } catch (error) {
      this.finish(asError(error));
      throw error;
    }
  }

  /** Returns whether there is an open connection to send it on. */
  send(data: Uint8Array): boolean {
    return this.state === "open" && this.connection !== null && this.connection.send(data);
  }

  /** Keeps what follows back until the promises that this task has settled have run. */
  hold(): void {
    this.connection?.hold();
  }

  /** Ends the session, here and at the server. Idempotent. */
  close(error: TickwireError): void {
    if (this.state === "closed") return;
    this.send(this.core.endSession());
    this.finish(error);
  }

  /** Loses the connection, as a bad network does. */
  drop(): void {
    this.connection?.close(RECONNECT, "dropped");
  }

  /** Ends this session and begins one at another address. Returns false when that cannot be reached and the client is at home.
   *
   * @throws Disconnected, Refused: not even home can be reached, and the client is closed. */
  async moveTo(url: string): Promise<boolean> {
    this.checkScheme(url);
    this.send(this.core.endSession());
    this.state = "connecting";
    this.disconnect(NORMAL, "redirected");
    this.core.forgetSession();
    try {
      await this.connect(url);
      return true;
    } catch {
      // Some gateways refuse in ways of their own; whatever it is, home is open.
      if (this.ending) throw this.ending;
    }
    try {
      this.url = this.home;
      this.hasMoved = true;
      this.retry = new Retry(this.limitMs || HELLO_MS_MAX);
      await this.reconnect();
      return false;
    } catch (error) {
      this.finish(asError(error));
      throw error;
    }
  }

  // -- one connection -------------------------------------------------------------------------------------

  /** @throws Disconnected, Refused; what the token's function throws. */
  private async connect(url: string): Promise<void> {
    this.goodbye = this.refusal = null;
    const token = await this.token();
    if (this.ending) throw this.ending;
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
          if (!isWelcomed) reject(this.ending ?? this.refusal ?? this.failure(isOpen ? "" : url, code, reason));
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

  /** Takes one message. Returns whether it was the Welcome. */
  private receive(data: Uint8Array, connection: Connection): boolean {
    this.bytesReceived += data.length;
    let update: Update | null;
    try {
      update = this.core.receive(data, this.now());
    } catch (error) {
      this.close(asError(error)); // the same would come again
      return false;
    }
    const isReturn = this.state === "away";
    if (update?.type === "welcomed") this.welcomed(update.welcome, connection);
    for (const message of this.core.outgoing.splice(0)) this.send(message);
    if (update?.type === "refused") this.refusal = new Refused(update.error);
    else if (update?.type === "ended") this.goodbye = update.goodbye;
    else if (update) this.refusal = null; // the connection has outlived it
    if (update?.type === "redirected" && update.redirect.isResume) this.moved(update.redirect.url);
    if (update) this.listener.updated(update, isReturn);
    return update?.type === "welcomed";
  }

  private welcomed(welcome: WelcomeMessage, connection: Connection): void {
    this.state = "open";
    this.hasMoved = false;
    this.welcomedMs = this.now();
    // The first ping is sent now, and says that the resume token has arrived.
    connection.startHeartbeat(welcome.heartbeatIntervalMs, () => this.core.ping(this.now()));
  }

  /** The session continues at another shard: the server closes now, and the next connection goes there. */
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
    if (this.home.startsWith("wss:") && !url.startsWith("wss:")) {
      throw new TickwireError(`redirected to ${url}: the token is not sent over a plain connection`);
    }
  }

  /** @param refusedBy: the address, if it has not even accepted the WebSocket. */
  private failure(refusedBy: string, code: number, reason: string): Disconnected {
    if (refusedBy) return new Disconnected(unreachable(refusedBy, code, reason));
    return new Disconnected(closed(code, reason), this.goodbye, code);
  }

  private disconnect(code: number, reason: string): void {
    const { connection } = this;
    this.connection = null;
    connection?.close(code, reason);
  }

  // -- the next one ---------------------------------------------------------------------------------------

  private get limitMs(): number {
    return this.options.reconnectMs ?? RECONNECT_MS_MAX;
  }

  private lost(code: number, reason: string): void {
    if (this.ending) return;
    const isOver = this.goodbye ? !this.goodbye.comeBack : isFinal(code);
    if (isOver || !this.limitMs) {
      this.finish(this.refusal ?? this.failure("", code, reason));
      return;
    }
    if (this.now() - this.welcomedMs >= STABLE_MS) this.retry = new Retry(this.limitMs);
    this.retry.lost();
    this.state = "away";
    this.listener.away(closed(code, reason));
    this.reconnect().catch((error: unknown) => this.finish(asError(error)));
  }

  /** Connects again, as often as it takes.
   *
   * @throws TickwireError: it makes no sense any more. */
  private async reconnect(): Promise<void> {
    let advisedMs = this.goodbye?.retryAfterMs || this.refusal?.retryAfterMs || 0;
    for (;;) {
      if (this.hasMoved) this.retry.redirected();
      this.hasMoved = false;
      const attempt = this.retry.next(advisedMs);
      if (!attempt) throw new Disconnected("the server cannot be reached", this.goodbye);
      await this.pause(attempt.waitMs);
      const began = this.now();
      try {
        await this.connect(attempt.isHome ? this.home : this.url);
        return;
      } catch (error) {
        if (this.ending || isDefinite(error)) throw error;
        const wasRefused = error instanceof Refused;
        this.retry.failed(this.now() - began, wasRefused);
        advisedMs = wasRefused ? error.retryAfterMs : (this.goodbye?.retryAfterMs ?? 0);
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

  /** The network may work again, or be another one; timers may have been late. */
  private wake(): void {
    if (this.state === "open") this.connection?.probe();
    if (this.state !== "away") return;
    this.retry.restart();
    this.stopWaiting();
    this.disconnect(RECONNECT, "another attempt"); // an attempt on the network that there was may hang
  }

  private finish(error: TickwireError): void {
    if (this.ending) return;
    this.ending = error;
    this.state = "closed";
    this.stopHints();
    this.stopWaiting();
    this.disconnect(NORMAL, "closed");
    this.listener.closed(error);
  }
}

/** Whether reconnecting makes no sense after an attempt that failed so. */
function isDefinite(error: unknown): boolean {
  return error instanceof Refused ? !error.isRetryable : error instanceof Disconnected && error.code >= 4500 && isFinal(error.code);
}

function asError(error: unknown): TickwireError {
  return error instanceof TickwireError ? error : new TickwireError(error instanceof Error ? error.message : String(error));
}

function closed(code: number, reason: string): string {
  return reason ? `${reason} (${code})` : `closed with ${code}`;
}

/** A browser keeps the reason of a failed handshake to itself, so all likely ones are named. */
function unreachable(url: string, code: number, reason: string): string {
  const { location } = globalThis as { location?: { origin: string } };
  const causes = location
    ? `Likely causes: no server listens there; it does not accept this page's origin ${location.origin} (edge.origins in its ` +
      `settings, a line in its log); a proxy does not pass WebSockets on; the page is https and the address is not wss.`
    : "";
  return `cannot connect to ${url}: ${reason || `the handshake failed (${code})`}. ${causes}`.trim();
}

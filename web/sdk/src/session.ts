/** The shell of the session machine: opens sockets, runs one timer, and settles promises. The machine decides everything else. */

import { ABNORMAL } from "./close_codes.js";
import type { Events } from "./client.js";
import { ConnectFailed } from "./errors.js";
import { listenForHints } from "./hints.js";
import type { MachineCommand } from "./machine_commands.js";
import { SUBPROTOCOL } from "./messages.js";
import { SessionMachine } from "./session_machine.js";
import { ClientSocket, type Socket } from "./socket.js";
import type { SessionStorage } from "./storage.js";

const RECONNECT_MS_MAX = 60_000;

export interface SessionOptions {
  /** The player's token. A function is called for every connection. */
  readonly token?: string | (() => string | Promise<string>);
  /** The game's version, for the server's logs. */
  readonly build?: string;
  /** How long the client tries to reconnect after a lost connection; 0 disables reconnecting. */
  readonly reconnectMs?: number;
  /** Keeps the session, so that it is resumed after the page was reloaded: `browserStorage()`. */
  readonly sessionStorage?: SessionStorage;
  /** Creates a WebSocket; by default the platform's own. */
  readonly socket?: (url: string, subprotocol: string) => Socket;
  /** A monotonic clock, milliseconds. */
  readonly now?: () => number;
}

export interface SessionListener {
  /** An event of the machine. */
  emitted(event: keyof Events, value: any): void;
  /** An exception of a function that the application passed. */
  failed(error: unknown, where: string): void;
}

interface Waiter {
  resolve(value: any): void;
  reject(error: Error): void;
}

export class Session {
  readonly machine: SessionMachine;
  readonly now: () => number;
  bytesReceived = 0;

  private socket: ClientSocket | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isRunning = false;
  private isClosed = false;
  private tokenRequests = 0;
  private readonly waiters = new Map<number, Waiter>();
  private saving: Promise<unknown> | null = null;
  private stopHints: () => void = () => undefined;

  constructor(
    url: string,
    private readonly options: SessionOptions,
    private readonly listener: SessionListener,
  ) {
    const { build = "tickwire-web", reconnectMs = RECONNECT_MS_MAX, sessionStorage } = options;
    this.machine = new SessionMachine({ url, build, reconnectMs, hasStorage: sessionStorage !== undefined });
    this.now = options.now ?? (() => performance.now());
  }

  /** Connects for the first time.
   *
   * @throws Disconnected, Refused. */
  async open(): Promise<void> {
    const stored = await this.load();
    this.stopHints = listenForHints(() => this.networkChanged());
    return this.call((nowMs) => {
      const call = this.machine.open(stored, nowMs);
      if (this.isClosed) this.machine.close(nowMs); // while the stored session was loaded
      return call;
    });
  }

  /** Ends the session, also one that `open` has not begun yet. */
  close(): void {
    this.isClosed = true;
    this.pass((nowMs) => this.machine.close(nowMs));
  }

  /** Begins a call of the machine, and returns its outcome. */
  call<T>(begin: (nowMs: number) => number): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.waiters.set(begin(this.now()), { resolve, reject });
      this.run();
    });
  }

  /** Passes an event to the machine, and carries out its commands. */
  pass(event: (nowMs: number) => void): void {
    event(this.now());
    this.run();
  }

  /** Sends an input. Returns its sequence number; 0 if it was not sent because there is no connection. */
  sendInput(values: Readonly<Record<string, number>>): number {
    const isGone = this.machine.isConnected && !this.socket?.isOpen;
    const seq = isGone ? 0 : this.machine.sendInput(values);
    this.run();
    return seq;
  }

  // -- commands of the machine ----------------------------------------------------------------------------

  /** Carries out the commands of the machine, in order. A listener may cause further ones. */
  private run(): void {
    if (this.isRunning) return;
    this.isRunning = true;
    try {
      for (let commands = this.machine.takeCommands(); commands.length; commands = this.machine.takeCommands()) {
        for (const command of commands) this.carryOut(command);
      }
    } finally {
      this.isRunning = false;
    }
  }

  private carryOut(command: MachineCommand): void {
    switch (command.type) {
      case "requestToken":
        this.requestToken();
        break;
      case "connect":
        this.connect(command.url);
        break;
      case "send":
        this.socket?.send(command.data);
        break;
      case "close":
        this.socket?.close(command.code, command.reason);
        this.socket = null;
        break;
      case "setTimer":
        this.setTimer(command.atMs);
        break;
      case "resolve":
        this.resolve(command.call, command.value);
        break;
      case "reject":
        this.waiters.get(command.call)?.reject(command.error);
        this.waiters.delete(command.call);
        break;
      case "emit":
        if (command.event === "closed") this.stopHints();
        this.listener.emitted(command.event, command.value);
        break;
      case "storeSession":
        this.store((storage) => storage.save(command.text));
        break;
      case "clearSession":
        this.store((storage) => storage.clear());
        break;
    }
  }

  private resolve(call: number, value: any): void {
    // Later messages wait until the caller that has a seat now can add listeners.
    if (value?.type === "joined" || (value === null && this.machine.core.joined)) this.socket?.hold();
    this.waiters.get(call)?.resolve(value);
    this.waiters.delete(call);
  }

  private setTimer(atMs: number | null): void {
    clearTimeout(this.timer);
    if (atMs === null) return;
    this.timer = setTimeout(() => this.pass((nowMs) => this.machine.timerFired(nowMs)), Math.max(0, Math.ceil(atMs - this.now())));
  }

  private requestToken(): void {
    const request = ++this.tokenRequests;
    const answer = (pass: (nowMs: number) => void) => {
      if (request === this.tokenRequests) this.pass(pass);
    };
    const { token = "" } = this.options;
    if (typeof token === "string") {
      answer((nowMs) => this.machine.tokenReceived(token, nowMs));
      return;
    }
    const received = (text: string) => answer((nowMs) => this.machine.tokenReceived(text, nowMs));
    const failed = (error: unknown) => answer((nowMs) => this.machine.tokenFailed(`no token: ${textOf(error)}`, nowMs));
    Promise.resolve().then(token).then(received, failed);
  }

  // -- sockets --------------------------------------------------------------------------------------------

  private connect(url: string): void {
    const { machine } = this;
    const make = this.options.socket ?? ((to: string, protocol: string) => new WebSocket(to, protocol) as Socket);
    let isOpen = false;
    let socket: Socket;
    try {
      socket = make(url, SUBPROTOCOL);
    } catch (error) {
      this.pass((nowMs) => machine.connectFailed(new ConnectFailed(`cannot connect to ${url}: ${textOf(error)}`), nowMs));
      return;
    }
    this.socket = new ClientSocket(socket, {
      opened: () => {
        isOpen = true;
        this.pass((nowMs) => machine.connected(nowMs));
      },
      received: (data) => {
        this.bytesReceived += data.length;
        const nowMs = this.now();
        const update = machine.receive(data, nowMs);
        if (update) this.listener.emitted(update.type as keyof Events, update);
        machine.received(nowMs);
        this.run();
      },
      ended: (code, reason) => {
        this.socket = null;
        const error = isOpen ? null : new ConnectFailed(connectFailure(url, code, reason));
        this.pass((nowMs) => (error ? machine.connectFailed(error, nowMs) : machine.connectionLost(code, closed(code, reason), nowMs)));
      },
    });
  }

  private networkChanged(): void {
    const { socket, machine } = this;
    if (machine.isConnected && socket?.isGone) {
      socket.close(ABNORMAL, "");
      this.socket = null;
      this.pass((nowMs) => machine.connectionLost(ABNORMAL, "the connection is gone", nowMs));
    } else this.pass((nowMs) => machine.networkChanged(nowMs));
  }

  // -- storage --------------------------------------------------------------------------------------------

  private async load(): Promise<string> {
    try {
      return (await this.options.sessionStorage?.load()) ?? "";
    } catch (error) {
      this.listener.failed(error, "sessionStorage");
      return "";
    }
  }

  /** Changes the storage, one change after the other; at once if no other one is in progress. */
  private store(change: (storage: SessionStorage) => unknown): void {
    const storage = this.options.sessionStorage;
    if (!storage) return;
    const work = async () => {
      try {
        await change(storage);
      } catch (error) {
        this.listener.failed(error, "sessionStorage");
      }
    };
    const saving = (this.saving = this.saving ? this.saving.then(work) : work());
    void saving.then(() => {
      if (this.saving === saving) this.saving = null;
    });
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
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

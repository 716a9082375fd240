/** One WebSocket, from its handshake to its end: messages in order, a heartbeat, and why it ended.
 *
 * The heartbeat counts intervals without a message, each of which began with a ping, and measures no time: late timers (a hidden
 * tab, a suspended laptop) do not make a healthy path look dead. Traffic sends pings, too, so that the server gets them where
 * timers do not run. */

import { ABNORMAL, RECONNECT } from "./close_codes.js";

/** Two pings have had the time to be answered, and a network that holds everything back for 5 s is not taken for a dead one. */
const SILENT_INTERVALS = 3;
const PING_MS_MIN = 100;
const PING_MS_MAX = 3000;

/** As much of a WebSocket as is used; the package `ws` for Node has it, too. */
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

export interface ConnectionListener {
  opened(): void;
  received(data: Uint8Array): void;
  /** Called once, whoever has ended it. */
  ended(code: number, reason: string): void;
}

export class Connection {
  private readonly inbox: Uint8Array[] = [];
  private isHeld = false;
  private hasEnded = false;
  private failure = "";
  private beating: ReturnType<typeof setInterval> | undefined;
  private pingMs = Infinity;
  private pingedMs = 0;
  private silentIntervals = 0;
  private ping: () => Uint8Array = () => new Uint8Array();

  constructor(
    private readonly socket: Socket,
    private readonly now: () => number,
    private readonly listener: ConnectionListener,
  ) {
    socket.binaryType = "arraybuffer";
    socket.onopen = () => listener.opened();
    socket.onmessage = (event: { data: ArrayBuffer }) => this.arrived(new Uint8Array(event.data));
    socket.onerror = (event: { message?: string }) => (this.failure = event?.message ?? ""); // a close follows
    socket.onclose = (event: { code?: number; reason?: string }) =>
      this.end(event.code ?? ABNORMAL, event.reason || this.failure);
  }

  /** Returns whether there is an open connection to send it on. */
  send(data: Uint8Array): boolean {
    if (this.socket.readyState !== 1) return false;
    this.socket.send(data);
    return true;
  }

  close(code: number, reason: string): void {
    if (this.socket.readyState < 2) this.socket.close(code, reason);
    this.end(code, reason); // without the peer's answer: a path that is dead gives none
  }

  /** Pings once an interval, and ends the connection after three without a message. */
  startHeartbeat(intervalMs: number, ping: () => Uint8Array): void {
    this.pingMs = Math.min(PING_MS_MAX, Math.max(PING_MS_MIN, intervalMs));
    this.ping = ping;
    this.sendPing();
    this.startBeating();
  }

  /** Pings now. There is reason to doubt the path: it has one interval to prove itself. */
  probe(): void {
    if (this.hasEnded) return;
    if (!this.sendPing()) {
      this.close(RECONNECT, "the connection is gone"); // a page that was stored away gets no event for it
      return;
    }
    this.silentIntervals = SILENT_INTERVALS - 1;
    this.startBeating();
  }

  /** Keeps messages back until the promises that this task has settled have run, where one task may receive several: Node. */
  hold(): void {
    const { setImmediate: later } = globalThis as { setImmediate?: (run: () => void) => void };
    if (!later) return;
    this.isHeld = true;
    later(() => {
      this.isHeld = false;
      this.deliver();
    });
  }

  private startBeating(): void {
    clearInterval(this.beating);
    this.beating = setInterval(() => {
      this.silentIntervals++;
      if (this.silentIntervals >= SILENT_INTERVALS) this.close(RECONNECT, "the server does not answer");
      else this.sendPing();
    }, this.pingMs);
  }

  private sendPing(): boolean {
    this.pingedMs = this.now();
    return this.send(this.ping());
  }

  private arrived(data: Uint8Array): void {
    this.silentIntervals = 0;
    if (this.now() - this.pingedMs >= this.pingMs) this.sendPing();
    this.inbox.push(data);
    this.deliver();
  }

  private deliver(): void {
    while (this.inbox.length && (!this.isHeld || this.hasEnded)) this.listener.received(this.inbox.shift()!);
  }

  private end(code: number, reason: string): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    clearInterval(this.beating);
    const { socket } = this;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.onerror = () => undefined;
    this.isHeld = false;
    this.deliver();
    this.listener.ended(code, reason);
  }
}

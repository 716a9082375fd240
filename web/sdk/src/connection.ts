/** One WebSocket, from its handshake to its close: messages in order, a heartbeat and the close reason.
 *
 * The heartbeat counts intervals without a message, each of which began with a ping, and measures no time: late timers (a hidden
 * tab, a suspended laptop) do not make a healthy path look dead. Received messages send pings, too, so that the server receives
 * them where timers do not run. */

import { ABNORMAL, RECONNECT } from "./close_codes.js";

/** Leaves time for the answers to two pings, so that a network that stalls for 5 s does not count as dead. */
const SILENT_INTERVALS = 3;
const PING_MS_MIN = 100;
const PING_MS_MAX = 3000;

/** The part of the WebSocket API that the client uses. The package `ws` for Node provides it, too. */
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
  /** Called once, whichever side closed the connection. */
  ended(code: number, reason: string): void;
}

export class Connection {
  private readonly inbox: Uint8Array[] = [];
  private isHeld = false;
  private hasEnded = false;
  private failure = "";
  private heartbeat: ReturnType<typeof setInterval> | undefined;
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
    socket.onmessage = (event: { data: ArrayBuffer }) => this.receive(new Uint8Array(event.data));
    socket.onerror = (event: { message?: string }) => (this.failure = event?.message ?? ""); // a close follows
    socket.onclose = (event: { code?: number; reason?: string }) =>
      this.end(event.code ?? ABNORMAL, event.reason || this.failure);
  }

  /** Sends a message. Returns false if the socket is not open. */
  send(data: Uint8Array): boolean {
    if (this.socket.readyState !== 1) return false;
    this.socket.send(data);
    return true;
  }

  close(code: number, reason: string): void {
    if (this.socket.readyState < 2) this.socket.close(code, reason);
    this.end(code, reason); // does not wait for the peer's close, which never arrives on a dead path
  }

  /** Sends a ping in every interval, and closes the connection after three intervals without a message. */
  startHeartbeat(intervalMs: number, ping: () => Uint8Array): void {
    this.pingMs = Math.min(PING_MS_MAX, Math.max(PING_MS_MIN, intervalMs));
    this.ping = ping;
    this.sendPing();
    this.restartHeartbeat();
  }

  /** Sends a ping now, because the path may be dead. The connection is closed unless a message arrives within one interval. */
  probe(): void {
    if (this.hasEnded) return;
    if (!this.sendPing()) {
      this.close(RECONNECT, "the connection is gone"); // a page in the back/forward cache receives no close event
      return;
    }
    this.silentIntervals = SILENT_INTERVALS - 1;
    this.restartHeartbeat();
  }

  /** Holds messages back until the promises that this task settled have run. Only needed where one task receives several
   * messages (Node). */
  hold(): void {
    const { setImmediate: later } = globalThis as { setImmediate?: (run: () => void) => void };
    if (!later) return;
    this.isHeld = true;
    later(() => {
      this.isHeld = false;
      this.deliver();
    });
  }

  private restartHeartbeat(): void {
    clearInterval(this.heartbeat);
    this.heartbeat = setInterval(() => {
      this.silentIntervals++;
      if (this.silentIntervals >= SILENT_INTERVALS) this.close(RECONNECT, "the server does not answer");
      else this.sendPing();
    }, this.pingMs);
  }

  private sendPing(): boolean {
    this.pingedMs = this.now();
    return this.send(this.ping());
  }

  private receive(data: Uint8Array): void {
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
    clearInterval(this.heartbeat);
    const { socket } = this;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.onerror = () => undefined;
    this.isHeld = false;
    this.deliver();
    this.listener.ended(code, reason);
  }
}

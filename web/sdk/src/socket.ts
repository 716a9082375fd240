/** One WebSocket, from its handshake to its close: messages in order, and the reason of the close. */

import { ABNORMAL, NORMAL, RECONNECT } from "./close_codes.js";

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
  /** Breaks the connection. Browsers have no such method; the package `ws` waits for the peer's close for 30 s otherwise. */
  terminate?(): void;
}

export interface SocketListener {
  opened(): void;
  received(data: Uint8Array): void;
  /** The server or the network closed the connection. */
  ended(code: number, reason: string): void;
}

export class ClientSocket {
  private readonly inbox: Uint8Array[] = [];
  private isHeld = false;
  private hasEnded = false;
  private failure = "";

  constructor(
    private readonly socket: Socket,
    private readonly listener: SocketListener,
  ) {
    socket.binaryType = "arraybuffer";
    socket.onopen = () => listener.opened();
    socket.onmessage = (event: { data: ArrayBuffer }) => {
      this.inbox.push(new Uint8Array(event.data));
      this.deliver();
    };
    socket.onerror = (event: { message?: string }) => (this.failure = event?.message ?? ""); // a close follows
    socket.onclose = (event: { code?: number; reason?: string }) => {
      this.isHeld = false;
      this.deliver();
      if (this.hasEnded) return;
      this.detach();
      listener.ended(event.code ?? ABNORMAL, event.reason || this.failure);
    };
  }

  get isOpen(): boolean {
    return this.socket.readyState === 1;
  }

  send(data: Uint8Array): void {
    if (this.isOpen) this.socket.send(data);
  }

  /** Closes the connection, without a call of the listener. Does not wait for the peer's close, which never arrives on a dead path.
   *
   * Browsers allow no codes but 1000 and those from 3000 on. */
  close(code: number, reason: string): void {
    this.detach();
    if (this.socket.readyState >= 2) return;
    if (code === RECONNECT && this.socket.terminate) this.socket.terminate();
    else this.socket.close(code === NORMAL || code >= 3000 ? code : RECONNECT, reason.slice(0, 40));
  }

  /** Returns whether the connection is gone although no event said so: a page in the back/forward cache receives no close event. */
  get isGone(): boolean {
    return this.socket.readyState >= 2;
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

  private deliver(): void {
    while (this.inbox.length && !this.isHeld && !this.hasEnded) this.listener.received(this.inbox.shift()!);
  }

  private detach(): void {
    this.hasEnded = true;
    const { socket } = this;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.onerror = () => undefined;
  }
}

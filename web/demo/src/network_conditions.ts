/** A WebSocket on a simulated network with latency and packet loss.
 *
 * TCP sends lost packets again, and later packets wait for them: a loss therefore delays messages, but never drops one. */

import type { Socket } from "tickwire";

const RETRANSMISSION_MS = 250;

export class NetworkConditions {
  latencyMs = 0;
  lossShare = 0;

  /** Returns the delay of the next message, in milliseconds. */
  delayMs(): number {
    const jitter = this.latencyMs * 0.2 * Math.random();
    return this.latencyMs / 2 + jitter + (Math.random() < this.lossShare ? RETRANSMISSION_MS : 0);
  }
}

/** Delivers messages late and in order. */
class DelayedChannel {
  private lastMs = 0;
  private waiting = 0;

  constructor(private readonly conditions: NetworkConditions) {}

  pass(deliver: () => void): void {
    const now = performance.now();
    const at = Math.max(this.lastMs, now + this.conditions.delayMs());
    this.lastMs = at;
    if (!this.waiting && at - now < 1) {
      deliver();
      return;
    }
    this.waiting++;
    setTimeout(() => {
      this.waiting--;
      deliver();
    }, at - now);
  }
}

/** Returns a function that opens a WebSocket under these conditions, for `Options.socket`. */
export function createSocket(conditions: NetworkConditions): (url: string, subprotocol: string) => Socket {
  return (url, subprotocol) => {
    const real = new WebSocket(url, subprotocol);
    const [sent, received] = [new DelayedChannel(conditions), new DelayedChannel(conditions)];
    const socket: Socket = {
      binaryType: "arraybuffer",
      get readyState() {
        return real.readyState;
      },
      onopen: null,
      onmessage: null,
      onclose: null,
      onerror: null,
      send: (data) => sent.pass(() => real.readyState === WebSocket.OPEN && real.send(data as BufferSource)),
      close: (code, reason) => sent.pass(() => real.close(code, reason)),
    };
    real.binaryType = "arraybuffer";
    real.onopen = (event) => received.pass(() => socket.onopen?.(event));
    real.onmessage = (event) => received.pass(() => socket.onmessage?.(event));
    real.onclose = (event) => received.pass(() => socket.onclose?.(event)); // after the messages that were received before it
    real.onerror = (event) => socket.onerror?.(event);
    return socket;
  };
}

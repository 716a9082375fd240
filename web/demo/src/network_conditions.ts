/** A WebSocket on a network that can be made worse: slower, with losses, or cut.
 *
 * What is lost on TCP is sent again, and all that follows waits for it: so a loss is a wait, and nothing is ever missing. */

import type { Socket } from "tickwire";

const RETRANSMISSION_MS = 250;

export class Weather {
  latencyMs = 0;
  lossShare = 0;

  /** How long one more message is on its way. */
  delayMs(): number {
    const jitter = this.latencyMs * 0.2 * Math.random();
    return this.latencyMs / 2 + jitter + (Math.random() < this.lossShare ? RETRANSMISSION_MS : 0);
  }
}

/** Messages that arrive later, and in order. */
class Lane {
  private lastMs = 0;
  private waiting = 0;

  constructor(private readonly weather: Weather) {}

  pass(deliver: () => void): void {
    const now = performance.now();
    const at = Math.max(this.lastMs, now + this.weather.delayMs());
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

export function socketOf(weather: Weather): (url: string, subprotocol: string) => Socket {
  return (url, subprotocol) => {
    const real = new WebSocket(url, subprotocol);
    const [there, back] = [new Lane(weather), new Lane(weather)];
    const socket: Socket = {
      binaryType: "arraybuffer",
      get readyState() {
        return real.readyState;
      },
      onopen: null,
      onmessage: null,
      onclose: null,
      onerror: null,
      send: (data) => there.pass(() => real.readyState === WebSocket.OPEN && real.send(data as BufferSource)),
      close: (code, reason) => there.pass(() => real.close(code, reason)),
    };
    real.binaryType = "arraybuffer";
    real.onopen = (event) => back.pass(() => socket.onopen?.(event));
    real.onmessage = (event) => back.pass(() => socket.onmessage?.(event));
    real.onclose = (event) => back.pass(() => socket.onclose?.(event)); // what was said before it comes before it
    real.onerror = (event) => socket.onerror?.(event);
    return socket;
  };
}

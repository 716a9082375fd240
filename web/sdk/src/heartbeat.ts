/** The client's heartbeat: when to send a Ping, and when the connection counts as lost. Pure.
 *
 * The heartbeat counts Pings and measures no time: after a pause of the whole process (a suspended laptop, a debugger) only one
 * interval counts as silent, and a Ping is sent before the connection can be lost. */

const PING_MS_MIN = 100;
const PING_MS_MAX = 3_000;
/** With an interval of 3 s, a connection ends 6 to 9 s after the path died. A network that stalls for 5 s does not count as dead. */
const UNANSWERED_PINGS_MAX = 2;

/** Returns the time between two Pings: the server's interval, within the limits above. */
export function pingIntervalMs(heartbeatIntervalMs: number): number {
  return Math.min(PING_MS_MAX, Math.max(PING_MS_MIN, heartbeatIntervalMs));
}

/** Counts the Pings of one connection since the last received message. */
export class Heartbeat {
  private unanswered = 0;

  /** Records that a message was received. Every message counts, not only a Pong. */
  received(): void {
    this.unanswered = 0;
  }

  /** Records that a Ping is sent. Returns false if the previous Pings were not answered: the connection is lost. */
  pinged(): boolean {
    return ++this.unanswered <= UNANSWERED_PINGS_MAX;
  }

  /** Records a Ping that is sent because the path may be dead: without a message the next interval is the last. */
  probed(): void {
    this.unanswered = UNANSWERED_PINGS_MAX;
  }
}

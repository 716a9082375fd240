/** Exponential backoff with jitter, never shorter than the delay that the server advised.
 *
 * The whole delay is random (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015: full jitter), which spreads the
 * reconnects of the clients that lost the same server at the same moment. */

const FIRST_MS = 250;
const LONGEST_MS = 10_000;
const ADVICE_SPREAD = 0.25;

export class Backoff {
  private ceilingMs = FIRST_MS;

  /** @param random: returns random numbers from 0 to 1. */
  constructor(private readonly random: () => number = Math.random) {}

  /** Returns the delay before the next attempt, in whole milliseconds. Draws two random numbers.
   *
   * @param advisedMs: the delay that the server advised; 0 without advice. */
  next(advisedMs = 0): number {
    const jittered = toWholeMs(this.ceilingMs * this.random());
    this.ceilingMs = Math.min(LONGEST_MS, this.ceilingMs * 2);
    return Math.max(jittered, toWholeMs(advisedMs * (1 + ADVICE_SPREAD * this.random())));
  }
}

/** Rounds halves up: all clients round alike, so that the scenarios hold for each of them. */
function toWholeMs(ms: number): number {
  return Math.floor(ms + 0.5);
}

/** When to try again: exponential, with jitter, and never before the server's advice.
 *
 * The whole delay is random (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015: full jitter), so that a thousand
 * clients that lost their server at one moment come back as a stream and not as a wave. */

const FIRST_MS = 250;
const LONGEST_MS = 10_000;
const ADVICE_SPREAD = 0.25;

export class Backoff {
  private ceilingMs = FIRST_MS;

  /** @param chance: gives random numbers from 0 to 1. */
  constructor(private readonly chance: () => number = Math.random) {}

  /** How long to wait before the next attempt.
   *
   * @param advisedMs: what the server said; 0 if it said nothing. */
  next(advisedMs = 0): number {
    const jittered = this.ceilingMs * this.chance();
    this.ceilingMs = Math.min(LONGEST_MS, this.ceilingMs * 2);
    return Math.max(jittered, advisedMs * (1 + ADVICE_SPREAD * this.chance()));
  }
}

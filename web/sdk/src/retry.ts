/** When and where to reconnect next. Pure: the caller waits, and says how long an attempt has taken.
 *
 * One series of attempts lasts until a connection has proved stable, so that a connection that dies after each Welcome does not
 * begin it again. Only planned waits and attempts count against its limit: a hidden tab or a suspended laptop, whose timers are
 * late, does not run out of time. */

import { Backoff } from "./backoff.js";

const REDIRECTS_MAX = 5;
/** From this attempt on every second one goes to the home address: the session's shard may be gone. */
const HOME_ATTEMPT_FIRST = 4;
/** No attempt counts for more than this. */
const ATTEMPT_MS_MAX = 10_000;

export interface Attempt {
  readonly waitMs: number;
  /** Whether it goes to the address where the client began, and not to the session's shard. */
  readonly isHome: boolean;
}

export class Retry {
  private backoff: Backoff;
  private spentMs = 0;
  private attempts = 0;
  private redirects = 0;
  private isRedirected = false;
  private isHome = false;
  private staysHome = false;

  /** @param limitMs: how long the series may last.
   * @param random: returns random numbers from 0 to 1. */
  constructor(
    private readonly limitMs: number,
    private readonly random: () => number = Math.random,
  ) {
    this.backoff = new Backoff(random);
  }

  /** The connection was lost. */
  lost(): void {
    this.attempts = 0;
    this.staysHome = false;
  }

  /** The session continues at another shard, where the next attempt goes without a wait. */
  redirected(): void {
    this.isRedirected = true;
  }

  /** The next attempt; null when it would come after the limit.
   *
   * @param advisedMs: how long the server asked to wait; 0: it said nothing. */
  next(advisedMs: number): Attempt | null {
    const isAtOnce = this.isRedirected && this.redirects < REDIRECTS_MAX;
    this.isRedirected = false;
    if (isAtOnce) {
      this.redirects++;
      this.attempts = 0;
      this.isHome = this.staysHome = false;
      return { waitMs: 0, isHome: false };
    }
    const waitMs = this.backoff.next(advisedMs);
    this.spentMs += waitMs;
    this.attempts++;
    this.isHome = this.staysHome || (this.attempts >= HOME_ATTEMPT_FIRST && this.attempts % 2 === 0);
    return this.spentMs > this.limitMs ? null : { waitMs, isHome: this.isHome };
  }

  /** The last attempt has failed.
   *
   * @param wasRefused: the server answered, and asked to come again. The home address knows then where the session is. */
  failed(tookMs: number, wasRefused: boolean): void {
    this.spentMs += Math.min(tookMs, ATTEMPT_MS_MAX);
    this.staysHome ||= this.isHome && wasRefused;
  }

  /** The network may be another one: the series begins again, with short waits. */
  restart(): void {
    this.spentMs = this.redirects = 0;
    this.backoff = new Backoff(this.random);
  }
}

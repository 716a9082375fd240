/** Plans the time and the address of the next reconnect. Pure: the caller waits, and measures the attempts.
 *
 * One series of attempts lasts until a connection is stable, so that a connection that breaks after each Welcome does not
 * restart it. Only planned waits and attempts count against the limit of the series: a hidden tab or a suspended laptop, whose
 * timers are late, does not exhaust it. */

import { Backoff } from "./backoff.js";

/** Redirects in a row that are followed without a pause, of a session or of a join. */
export const REDIRECTS_MAX = 5;
/** From this attempt on, every second one goes to the initial URL: the session's shard may be gone. */
const INITIAL_URL_ATTEMPT_FIRST = 4;
/** The most that one attempt counts against the limit. */
const ATTEMPT_MS_MAX = 10_000;

export interface Attempt {
  readonly waitMs: number;
  /** Whether the attempt goes to the client's initial URL instead of the session's shard. */
  readonly isInitialUrl: boolean;
}

export class Retry {
  private backoff: Backoff;
  private spentMs = 0;
  private attempts = 0;
  private redirects = 0;
  private isRedirected = false;
  private isInitialUrl = false;
  private staysAtInitialUrl = false;

  /** @param limitMs: the duration of the series.
   * @param random: returns random numbers from 0 to 1. */
  constructor(
    private readonly limitMs: number,
    private readonly random: () => number = Math.random,
  ) {
    this.backoff = new Backoff(random);
  }

  /** Records that the connection was lost. */
  lost(): void {
    this.attempts = 0;
    this.staysAtInitialUrl = false;
  }

  /** Records that the session moved to another shard: the next attempt goes there immediately. */
  redirected(): void {
    this.isRedirected = true;
  }

  /** Returns the next attempt; null if it would start after the limit.
   *
   * @param advisedMs: the delay that the server advised; 0 without advice. */
  next(advisedMs: number): Attempt | null {
    const isImmediate = this.isRedirected && this.redirects < REDIRECTS_MAX;
    this.isRedirected = false;
    if (isImmediate) {
      this.redirects++;
      this.attempts = 0;
      this.isInitialUrl = this.staysAtInitialUrl = false;
      return { waitMs: 0, isInitialUrl: false };
    }
    const waitMs = this.backoff.next(advisedMs);
    this.spentMs += waitMs;
    this.attempts++;
    this.isInitialUrl = this.staysAtInitialUrl || (this.attempts >= INITIAL_URL_ATTEMPT_FIRST && this.attempts % 2 === 0);
    return this.spentMs > this.limitMs ? null : { waitMs, isInitialUrl: this.isInitialUrl };
  }

  /** Records that the last attempt failed.
   *
   * @param wasRefused: the server answered with a retryable error. If it was the initial URL, that shard locates the session. */
  failed(tookMs: number, wasRefused: boolean): void {
    this.spentMs += Math.min(tookMs, ATTEMPT_MS_MAX);
    this.staysAtInitialUrl ||= this.isInitialUrl && wasRefused;
  }

  /** Restarts the series with short waits, because the network may have changed. */
  restart(): void {
    this.spentMs = this.redirects = 0;
    this.backoff = new Backoff(this.random);
  }
}

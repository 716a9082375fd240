/** Plans when and where a client reconnects. Pure: the caller passes clock and randomness. docs/clients.md has the rules. */

import { Backoff } from "./backoff.js";

/** Redirects in a row that are followed without a pause. More of them mean that shards redirect the session in a circle. */
export const REDIRECTS_MAX = 5;
/** From this attempt on, every second one goes to the initial URL: the session's shard may be gone. */
const INITIAL_URL_ATTEMPT_FIRST = 4;
/** A connection that is lost before this time continues the previous series of attempts and its deadline. */
const STABLE_CONNECTION_MS = 5_000;
/** The minimum time in which a client that left its session for another shard tries to open a new one. */
const VISIT_MS = 10_000;

export interface Attempt {
  readonly url: string;
  readonly pauseMs: number;
}

/** Plans the attempts to reconnect one session, over all of its connections. A *series* begins when a stable connection is lost;
 * it has a deadline and growing pauses. */
export class ReconnectPlan {
  /** The last known address of the session's shard. */
  url: string;
  private backoff: Backoff;
  private deadlineMs: number | null = null;
  private connectedMs = 0;
  private attempts = 0;
  private redirects = 0;
  private advisedMs = 0;
  private wasInitialUrl = false;
  private staysAtInitialUrl = false;
  /** The target of a Redirect, until the attempt. */
  private nextUrl = "";

  /** @param reconnectMs: the duration of a series.
   * @param random: returns random numbers from 0 to 1. */
  constructor(
    private readonly initialUrl: string,
    private readonly reconnectMs: number,
    private readonly random: () => number,
  ) {
    this.url = initialUrl;
    this.backoff = new Backoff(random);
  }

  /** Records that the session has a connection. */
  connected(url: string, nowMs: number): void {
    this.url = url;
    this.connectedMs = nowMs;
  }

  /** Records that the connection was lost. */
  lost(nowMs: number, advisedMs: number): void {
    if (this.deadlineMs === null || nowMs - this.connectedMs >= STABLE_CONNECTION_MS) this.begin(nowMs, this.reconnectMs);
    this.attempts = 0;
    this.advisedMs = advisedMs;
    this.staysAtInitialUrl = false;
  }

  /** Begins the series again, with short pauses: the network may work again. */
  restart(nowMs: number): void {
    this.begin(nowMs, this.reconnectMs);
  }

  /** Records that the session moved to another shard: the next attempt goes there, without a pause. */
  redirected(url: string): void {
    this.url = this.nextUrl = url;
    this.advisedMs = 0; // it was about another shard
  }

  /** Begins a series for a new session on another shard. The first attempt goes there, without a pause. If it fails, later ones go
   * to the initial URL: the shard may be dead. */
  visit(url: string, nowMs: number): void {
    this.begin(nowMs, Math.max(this.reconnectMs, VISIT_MS));
    this.url = this.initialUrl;
    this.nextUrl = url;
  }

  /** Records that the last attempt failed.
   *
   * @param wasRefused: the server answered with a retryable error. If it was the initial URL, later attempts skip the session's
   * shard, which does not answer. */
  failed(advisedMs: number, wasRefused: boolean): void {
    if (this.nextUrl) return; // the attempt was redirected, and did not fail
    this.advisedMs = advisedMs;
    this.redirects = 0;
    if (wasRefused) this.staysAtInitialUrl = this.wasInitialUrl;
  }

  /** Moves the deadline: the client's timers were late by this time (a hidden tab, a suspended laptop). */
  extend(ms: number): void {
    if (this.deadlineMs !== null) this.deadlineMs += ms;
  }

  /** Returns the next attempt; null if it would begin after the deadline of the series. */
  next(nowMs: number): Attempt | null {
    const url = this.nextUrl;
    this.nextUrl = "";
    if (url && this.redirects < REDIRECTS_MAX) {
      this.redirects += 1;
      this.attempts = 0;
      this.staysAtInitialUrl = this.wasInitialUrl = false;
      return { url, pauseMs: 0 };
    }
    this.redirects = 0;
    const pauseMs = this.backoff.next(this.advisedMs);
    if (this.deadlineMs === null || nowMs + pauseMs > this.deadlineMs) return null;
    this.attempts += 1;
    const isInitialTurn = this.attempts >= INITIAL_URL_ATTEMPT_FIRST && this.attempts % 2 === 0;
    this.wasInitialUrl = this.staysAtInitialUrl || isInitialTurn;
    return { url: this.wasInitialUrl ? this.initialUrl : this.url, pauseMs };
  }

  private begin(nowMs: number, durationMs: number): void {
    this.deadlineMs = nowMs + durationMs;
    this.backoff = new Backoff(this.random);
    this.attempts = this.redirects = 0;
    this.advisedMs = 0;
    this.staysAtInitialUrl = false;
  }
}

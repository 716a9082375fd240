/** Relates MatchStatus and Redirect messages to the waiting match request. Pure.
 *
 * The server answers a MatchCancel with CANCELLED, or with FOUND and a reason if the match was already final: FOUND without a
 * reason and its Redirect were then sent before. A client that leaves the queue and immediately enters it again receives messages
 * about the previous entry, which must not end the new wait. CANCELLED also arrives without a MatchCancel. Messages arrive in
 * order, and the first message about a new entry is WAITING:
 *
 *     not queued --WAITING--> queued --CANCELLED, TIMED_OUT, abandoned--> not queued
 *                               └--FOUND--> the next Redirect leads to the match
 */

import type { MatchStatusMessage } from "./types.js";

/** The meaning of a queue message for the waiting request: about an abandoned entry, about the current one, or its end. */
export type Meaning = "none" | "progress" | "end";

/** A session's entry in the matchmaking queue, as the client knows it. */
export class MatchQueue {
  private requestedMode = "";
  private isQueued = false;
  private cancels = 0;
  /** The meaning of the Redirect after FOUND. */
  private redirect: Meaning | null = null;

  /** Whether a MatchCancel has no answer yet. It is sent again after a resume. */
  get hasCancelled(): boolean {
    return this.cancels > 0;
  }

  /** Records that a MatchRequest is sent. */
  request(mode: string): void {
    this.requestedMode = mode;
  }

  /** Records that the client stopped waiting. Returns whether it must send a MatchCancel. */
  abandon(): boolean {
    if (!this.requestedMode) return false;
    this.requestedMode = "";
    this.isQueued = false;
    this.cancels += 1;
    return true;
  }

  /** Records a resume: an unanswered MatchCancel is sent again, once. */
  resumed(): void {
    this.cancels = Math.min(this.cancels, 1);
  }

  /** Records a new session, which is not queued. A waiting request is sent again. */
  reset(): void {
    this.isQueued = false;
    this.cancels = 0;
    this.redirect = null;
  }

  /** Returns the meaning of a MatchStatus. */
  statusReceived(status: MatchStatusMessage): Meaning {
    if (status.state === "found") return status.reason ? this.cancelAnswered() : this.found(status.mode);
    if (this.cancels) {
      if (status.state === "cancelled") this.cancels -= 1;
      return "none";
    }
    const wasQueued = this.isQueued;
    this.isQueued = status.state === "waiting";
    if (this.isQueued) return "progress";
    return wasQueued ? this.end() : "none";
  }

  /** Returns the meaning of a Redirect for the wait; null if it answers a Join. */
  redirectReceived(): Meaning | null {
    const meaning = this.redirect;
    this.redirect = null;
    return meaning;
  }

  /** Handles FOUND as the answer to a late MatchCancel; no Redirect follows it. */
  private cancelAnswered(): Meaning {
    this.cancels = Math.max(0, this.cancels - 1);
    return "none";
  }

  private end(): Meaning {
    this.requestedMode = "";
    return "end";
  }

  /** Handles a found match. The client joins it if it waits for a match of this mode; else the match ends its request. */
  private found(mode: string): Meaning {
    this.cancels = 0;
    this.isQueued = false;
    if (!this.requestedMode) this.redirect = "none";
    else this.redirect = !mode || mode === this.requestedMode ? "progress" : this.end();
    return this.redirect;
  }
}

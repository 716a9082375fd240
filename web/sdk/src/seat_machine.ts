/** The calls of a session machine for a seat: joins, leaves, moves and the rooms of matches, one after the other. Pure.
 *
 *     join ───────────────────────────> requested --joined--> resolved
 *     match, move --leaves its room-->  ^  └--Redirect--> visiting --connected--> requested there, with the ticket
 *                                       └--after a pause, at the initial URL--└--the shard cannot be reached
 *
 * The server processes one Join at a time. A Redirect without an address leads to a room on the same shard. */

import { Backoff } from "./backoff.js";
import type { ConnectionMachine } from "./connection_machine.js";
import type { ClientCore, Update } from "./core.js";
import type { Deadlines } from "./deadlines.js";
import { ClientError, Disconnected, NotMatched, Refused, TimeoutError } from "./errors.js";
import { CALL_MS_MAX, JOIN_MS_MAX, type PendingCall } from "./machine_calls.js";
import { REDIRECTS_MAX } from "./reconnect.js";
import type { RedirectMessage } from "./types.js";

/** The part of the machine above the seats. */
export interface SeatUser {
  /** Sends a message, if the session is open. */
  send(data: Uint8Array): void;
  /** Ends a call. */
  resolve(call: PendingCall, value: unknown): void;
  reject(call: PendingCall, error: Error): void;
}

export class SeatMachine {
  private readonly queue: PendingCall[] = [];

  /** @param connection: goes to other shards.
   * @param deadlines: receives the deadline of the first call. */
  constructor(
    private readonly core: ClientCore,
    private readonly connection: ConnectionMachine,
    private readonly deadlines: Deadlines,
    private readonly random: () => number,
    private readonly user: SeatUser,
  ) {}

  /** The call that is processed; the others wait for it. */
  get active(): PendingCall | undefined {
    return this.queue[0];
  }

  /** Adds a call, and begins it if no other is processed. */
  add(call: PendingCall, nowMs: number): void {
    this.queue.push(call);
    if (this.queue.length === 1) this.begin(call, nowMs);
  }

  /** Removes a call that has ended, and begins the next one. A Join without an answer is abandoned. Idempotent. */
  remove(call: PendingCall, nowMs: number): void {
    const index = this.queue.indexOf(call);
    if (index < 0) return;
    this.queue.splice(index, 1);
    if (index > 0) return;
    this.deadlines.cancel(call.number);
    if (call.step === "requested" && call.request) this.core.abandonJoin();
    if (this.active && this.connection.phase !== "closed") this.begin(this.active, nowMs);
  }

  clear(): void {
    this.queue.length = 0;
  }

  private begin(call: PendingCall, nowMs: number): void {
    call.untilMs = nowMs + JOIN_MS_MAX;
    call.backoff = new Backoff(this.random);
    if (call.kind === "leave") this.leave(call, nowMs);
    else if (call.first && call.kind === "join") this.request(call, call.first, nowMs);
    else if (call.kind === "match" && this.core.joined) {
      call.step = "leaving";
      this.leave(call, nowMs);
    } else if (call.redirect) this.follow(call, call.redirect, nowMs);
  }

  private leave(call: PendingCall, nowMs: number): void {
    call.request = { type: "Leave", data: this.core.leave() };
    this.deadlines.set(call.number, nowMs + CALL_MS_MAX);
    this.user.send(call.request.data);
  }

  /** Sends a Join, or waits until an abandoned Join has its answer: the server refuses another one until then. */
  private request(call: PendingCall, data: Uint8Array, nowMs: number): void {
    call.request = { type: "Join", data };
    this.deadlines.set(call.number, nowMs + CALL_MS_MAX);
    call.step = this.core.isAbandoningJoin ? "abandoned" : "requested";
    if (call.step === "requested") this.user.send(data);
  }

  /** Continues a call that waited for the answer to an abandoned Join. */
  abandonedJoinAnswered(nowMs: number): void {
    const call = this.active;
    if (call?.step === "abandoned" && call.request) this.request(call, call.request.data, nowMs);
  }

  /** Handles the answer to the request of the active call. */
  answered(call: PendingCall, update: Update, nowMs: number): void {
    call.request = null;
    if (update.type === "joined") this.user.resolve(call, update.joined);
    else if (update.type === "redirected") {
      call.redirects += 1;
      if (call.redirects > REDIRECTS_MAX) this.user.reject(call, new ClientError(`redirected more than ${REDIRECTS_MAX} times`));
      else this.follow(call, update.redirect, nowMs);
    } else if (update.type === "refused") this.user.reject(call, new Refused(update.error));
    else if (call.kind === "leave") this.user.resolve(call, null);
    else if (call.redirect) this.follow(call, call.redirect, nowMs);
  }

  private follow(call: PendingCall, redirect: RedirectMessage, nowMs: number): void {
    call.redirect = redirect;
    const error = redirect.url ? this.connection.downgradeError(redirect.url) : null;
    if (!redirect.url) this.requestWithTicket(call, redirect, nowMs);
    else if (error) this.user.reject(call, error);
    else {
      call.step = "visiting";
      this.deadlines.set(call.number, nowMs + JOIN_MS_MAX);
      this.connection.visit(redirect.url, nowMs);
    }
  }

  private requestWithTicket(call: PendingCall, redirect: RedirectMessage, nowMs: number): void {
    const { ticket, roomName } = redirect;
    let data: Uint8Array;
    try {
      data = this.core.join(redirect.roomType, { ticket, name: roomName, ...(call.options ? { options: call.options } : {}) });
    } catch (error) {
      if (!(error instanceof ClientError)) throw error;
      this.user.reject(call, error); // too large for this shard
      return;
    }
    this.request(call, data, nowMs);
  }

  /** Continues on a new connection: sends the request again, unless the server still processes it. */
  welcomed(isJoinInFlight: boolean, nowMs: number): void {
    const call = this.active;
    if (!call) return;
    if (call.step === "visiting" && call.redirect) {
      if (this.connection.url === call.redirect.url) this.requestWithTicket(call, call.redirect, nowMs);
      else this.shardUnreachable(call, call.redirect, nowMs);
    } else if (call.step === "abandoned") {
      if (!this.core.isAbandoningJoin) this.abandonedJoinAnswered(nowMs);
    } else if (call.request && !(call.request.type === "Join" && isJoinInFlight)) this.user.send(call.request.data);
  }

  /** Handles a Redirect to a shard that failed. The client is connected to its initial URL. */
  private shardUnreachable(call: PendingCall, redirect: RedirectMessage, nowMs: number): void {
    if (call.kind === "match") {
      this.user.reject(call, new NotMatched("cancelled", "the shard of the match cannot be reached"));
      return;
    }
    const pauseMs = call.backoff?.next() ?? 0;
    if (call.kind === "move" || nowMs + pauseMs > call.untilMs) {
      this.user.reject(call, new Disconnected(`the room's shard, ${redirect.url}, cannot be reached`));
      return;
    }
    call.step = "pause";
    call.redirects = 0;
    this.deadlines.set(call.number, nowMs + pauseMs);
  }

  /** Handles the deadline of the active call: the pause is over, or no answer arrived. */
  deadlineDue(call: PendingCall, nowMs: number): void {
    if (call.step === "pause" && call.first) this.request(call, call.first, nowMs);
    else this.user.reject(call, new TimeoutError("no answer in time"));
  }
}

/** A session's commands: which may be sent now, which wait, which are asked again. Pure; the time comes in.
 *
 * Ids grow, and are sent in their order. The server remembers its last 64 replies; an id below those it has forgotten is refused
 * unseen. So no command is sent that is more than WINDOW ids above the oldest one without an answer: one that the server has
 * dropped (a rate limit, a lost connection) can always be asked again. */

import { TickwireError } from "./errors.js";

const WINDOW = 16n;
const COMMANDS_MAX = 1024;
/** Of the rates that the server allows a session; inputs, pings and requests have the rest. */
const SHARE = 0.5;

export class CommandQueue {
  private lastId = 0n;
  private sentId = 0n;
  private readonly unanswered = new Map<bigint, Uint8Array>(); // in the order of their ids
  private readonly pace = new Pace();
  private isHeldBack = false;

  /** Takes a command, to be sent by `take`.
   *
   * @param encode: makes the message.
   * @throws TickwireError: too many have no answer. Also what `encode` throws. */
  add(encode: (id: bigint) => Uint8Array): bigint {
    if (this.unanswered.size >= COMMANDS_MAX) throw new TickwireError(`more than ${COMMANDS_MAX} commands have no answer`);
    const id = this.lastId + 1n;
    this.unanswered.set(id, encode(id));
    return (this.lastId = id);
  }

  /** The command is answered, or nobody waits for it any more. */
  remove(id: bigint): void {
    this.unanswered.delete(id);
  }

  /** A command that has been sent and has no answer. */
  get(id: bigint): Uint8Array | undefined {
    return id <= this.sentId ? this.unanswered.get(id) : undefined;
  }

  /** The commands to send now. Call it again after `waitMs`. */
  take(nowMs: number): Uint8Array[] {
    const taken: Uint8Array[] = [];
    let end: bigint | null = null;
    this.isHeldBack = false;
    for (const [id, data] of this.unanswered) {
      end ??= id + WINDOW;
      if (id >= end) break;
      if (id <= this.sentId) continue;
      this.isHeldBack = !this.pace.allows(data.length, nowMs);
      if (this.isHeldBack) break;
      this.sentId = id;
      taken.push(data);
    }
    return taken;
  }

  /** For how long the pace held the next command back at the last `take`; 0: it waits for nothing, or for an answer. */
  waitMs(nowMs: number): number {
    return this.isHeldBack ? this.pace.waitMs(nowMs) : 0;
  }

  /** All commands without an answer are sent again: the connection that they were sent on is gone. */
  rewind(): void {
    const [oldest] = this.unanswered.keys();
    if (oldest !== undefined) this.sentId = oldest - 1n;
  }

  /** Nothing is sent for the first time before then: the server drops messages. */
  pause(untilMs: number): void {
    this.pace.pause(untilMs);
  }

  /** The session has begun or was resumed: its rates, 0 where they are not known. */
  limit(messagesPerSecond: number, bytesPerSecond: number): void {
    this.pace.limit(SHARE * (messagesPerSecond || Infinity), SHARE * (bytesPerSecond || Infinity));
  }

  /** The session is over; ids go on growing. */
  clear(): void {
    this.unanswered.clear();
  }
}

/** A bucket of messages and one of bytes, each with a second's worth at most. */
class Pace {
  private readonly rates = [Infinity, Infinity];
  private readonly levels = [Infinity, Infinity];
  private sinceMs = 0;

  limit(...rates: [messages: number, bytes: number]): void {
    rates.forEach((rate, at) => {
      this.rates[at] = rate;
      this.levels[at] = rate < Infinity ? Math.min(this.levels[at]!, rate) : Infinity;
    });
  }

  /** Takes nothing before a time. */
  pause(untilMs: number): void {
    this.sinceMs = Math.max(this.sinceMs, untilMs);
  }

  /** Whether a message may be sent now; if so, it has been. The level of bytes may fall below zero: a large one waits once. */
  allows(size: number, nowMs: number): boolean {
    if (nowMs < this.sinceMs) return false;
    this.refill(nowMs);
    if (this.levels.some((level) => level <= 0)) return false;
    this.levels[0]! -= 1;
    this.levels[1]! -= size;
    return true;
  }

  waitMs(nowMs: number): number {
    const missing = this.levels.map((level, at) => (level > 0 ? 0 : (1000 * (1 - level)) / this.rates[at]!));
    return Math.max(0, this.sinceMs - nowMs) + Math.max(...missing);
  }

  private refill(nowMs: number): void {
    this.rates.forEach((rate, at) => {
      if (rate < Infinity) this.levels[at] = Math.min(rate, this.levels[at]! + ((nowMs - this.sinceMs) * rate) / 1000);
    });
    this.sinceMs = nowMs;
  }
}

/** The commands of a session that have no reply yet, and the times to send them. Pure: the caller passes the time.
 *
 * Ids ascend, and commands are sent in the order of their ids. The server keeps its last 64 replies and refuses older ids. No
 * command is sent that is WINDOW or more ids above the oldest one without a reply, so a command that the server dropped (a rate
 * limit, a lost connection) can always be sent again. */

import { ClientError } from "./errors.js";

const WINDOW = 16n;
const COMMANDS_MAX = 1024;
/** The share of the session's message and byte rates that commands may use; inputs, pings and requests use the rest. */
const RATE_SHARE = 0.5;

export class CommandQueue {
  private lastId = 0n;
  private sentId = 0n;
  private readonly unanswered = new Map<bigint, Uint8Array>(); // in the order of their ids
  private readonly rateLimit = new RateLimit();
  private isHeldBack = false;

  /** Adds a command. `due` returns it when it may be sent.
   *
   * @param encode: encodes the message.
   * @throws ClientError: COMMANDS_MAX commands have no reply. Exceptions of `encode` pass through. */
  add(encode: (id: bigint) => Uint8Array): bigint {
    if (this.unanswered.size >= COMMANDS_MAX) throw new ClientError(`${COMMANDS_MAX} commands have no reply yet: wait for some of them`);
    const id = this.lastId + 1n;
    this.unanswered.set(id, encode(id));
    return (this.lastId = id);
  }

  /** Removes a command that was answered or abandoned. Idempotent. */
  remove(id: bigint): void {
    this.unanswered.delete(id);
  }

  /** Returns a command that was sent and has no reply. */
  get(id: bigint): Uint8Array | undefined {
    return id <= this.sentId ? this.unanswered.get(id) : undefined;
  }

  /** Returns the commands to send now. Call it again after `waitMs`. */
  due(nowMs: number): Uint8Array[] {
    const due: Uint8Array[] = [];
    let end: bigint | null = null;
    this.isHeldBack = false;
    for (const [id, data] of this.unanswered) {
      end ??= id + WINDOW;
      if (id >= end) break;
      if (id <= this.sentId) continue;
      this.isHeldBack = !this.rateLimit.tryTake(data.length, nowMs);
      if (this.isHeldBack) break;
      this.sentId = id;
      due.push(data);
    }
    return due;
  }

  /** Returns the time until the rate limit allows the next command; 0 if the rate limit holds no command back. */
  waitMs(nowMs: number): number {
    return this.isHeldBack ? this.rateLimit.waitMs(nowMs) : 0;
  }

  /** Marks all commands without a reply as unsent, after their connection was lost. */
  rewind(): void {
    const [oldest] = this.unanswered.keys();
    if (oldest !== undefined) this.sentId = oldest - 1n;
  }

  /** Sends no new command before a time, because the server drops messages. */
  pause(untilMs: number): void {
    this.rateLimit.pause(untilMs);
  }

  /** Sets the rates of a session that began or was resumed; 0 for an unknown rate. */
  limit(messagesPerSecond: number, bytesPerSecond: number): void {
    this.rateLimit.limit(RATE_SHARE * (messagesPerSecond || Infinity), RATE_SHARE * (bytesPerSecond || Infinity));
  }

  /** Removes all commands, when the session ends. Ids are not reused. */
  clear(): void {
    this.unanswered.clear();
  }
}

/** A token bucket for messages and one for bytes, each of one second. */
class RateLimit {
  private readonly rates = [Infinity, Infinity];
  private readonly tokens = [Infinity, Infinity];
  private sinceMs = 0;

  limit(...rates: [messages: number, bytes: number]): void {
    rates.forEach((rate, at) => {
      this.rates[at] = rate;
      this.tokens[at] = rate < Infinity ? Math.min(this.tokens[at]!, rate) : Infinity;
    });
  }

  /** Allows nothing before a time. */
  pause(untilMs: number): void {
    this.sinceMs = Math.max(this.sinceMs, untilMs);
  }

  /** Takes the tokens of one message. Returns false if it may not be sent yet. Bytes may fall below zero: a large message waits
   * only once. */
  tryTake(size: number, nowMs: number): boolean {
    if (nowMs < this.sinceMs) return false;
    this.refill(nowMs);
    if (this.tokens.some((count) => count <= 0)) return false;
    this.tokens[0]! -= 1;
    this.tokens[1]! -= size;
    return true;
  }

  waitMs(nowMs: number): number {
    const missing = this.tokens.map((count, at) => (count > 0 ? 0 : (1000 * (1 - count)) / this.rates[at]!));
    return Math.max(0, this.sinceMs - nowMs) + Math.max(...missing);
  }

  private refill(nowMs: number): void {
    this.rates.forEach((rate, at) => {
      if (rate < Infinity) this.tokens[at] = Math.min(rate, this.tokens[at]! + ((nowMs - this.sinceMs) * rate) / 1000);
    });
    this.sinceMs = nowMs;
  }
}

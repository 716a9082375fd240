/** The commands of a session that have no reply yet, and the times to send them. Pure: the caller passes the time.
 *
 *     waiting --sent--> in flight --Reply--> answered and removed
 *        ^                 └--RATE_LIMITED, UNAVAILABLE, resume, no answer in time--┐
 *        └--------------------------------------------------------------------------┘
 *
 * At most the IDS_MAX ids from the oldest unanswered one on are in flight. The server keeps its last 64 replies and refuses older
 * ids, so a client that is further ahead could not send a command again. Within the window the rate of messages and bytes stays
 * below the session's limits in Welcome. */

import { Backoff } from "./backoff.js";
import { ClientError } from "./errors.js";
import type { ReplyMessage, WelcomeMessage } from "./types.js";

const IDS_MAX = 16;
const COMMANDS_MAX = 1024;
/** A command without a reply on one connection is sent again after this time: the server may not have received it. */
const ANSWER_MS_MAX = 10_000;
/** The share of the session's message and byte rates that commands may use; inputs, pings and requests use the rest. */
const RATE_SHARE = 0.5;

interface PendingCommand {
  readonly data: Uint8Array;
  readonly backoff: Backoff;
  dueMs: number;
}

/** Returns whether a reply is final. Otherwise the command is sent again under its id. */
export function isDecided(reply: ReplyMessage): boolean {
  return reply.ok || (!reply.retryAfterMs && reply.error !== "UNAVAILABLE" && reply.error !== "RATE_LIMITED");
}

export class CommandWindow {
  private readonly commands = new Map<number, PendingCommand>(); // by id, ascending
  private readonly messages = new Budget();
  private readonly bytes = new Budget();

  /** @param random: returns random numbers from 0 to 1; spreads the pauses before a command is sent again. */
  constructor(private readonly random: () => number) {}

  /** Adds a command.
   *
   * @param id: greater than all ids that were added before.
   * @throws ClientError: COMMANDS_MAX commands have no reply. */
  add(id: number, data: Uint8Array): void {
    if (this.commands.size >= COMMANDS_MAX) throw new ClientError(`${COMMANDS_MAX} commands have no reply yet: wait for some of them`);
    this.commands.set(id, { data, backoff: new Backoff(this.random), dueMs: 0 });
  }

  /** Removes a command that was answered or abandoned. Idempotent. */
  remove(id: number): void {
    this.commands.delete(id);
  }

  /** Removes all commands, when the session ends and no reply can arrive. */
  clear(): void {
    this.commands.clear();
  }

  /** Begins a connection: all commands are due on it, within the server's limits. */
  welcomed(welcome: WelcomeMessage): void {
    this.messages.limit(welcome.messagesPerSecondMax * RATE_SHARE);
    this.bytes.limit(welcome.bytesPerSecondMax * RATE_SHARE);
    for (const command of this.commands.values()) command.dueMs = 0;
  }

  /** Records a reply. If the outcome is unknown, the command is due again after a pause. */
  replied(reply: ReplyMessage, nowMs: number): void {
    const id = Number(reply.id);
    const command = this.commands.get(id);
    if (isDecided(reply)) this.remove(id);
    else if (command) command.dueMs = nowMs + command.backoff.next(reply.retryAfterMs);
  }

  /** Returns the messages to send now, in the order of their ids. They count as sent. */
  due(nowMs: number): Uint8Array[] {
    const due: Uint8Array[] = [];
    for (const command of this.inWindow()) {
      if (this.nextMs(command, nowMs) > nowMs) continue;
      due.push(command.data);
      this.messages.spend(1);
      this.bytes.spend(command.data.length);
      command.dueMs = nowMs + ANSWER_MS_MAX;
    }
    return due;
  }

  /** Returns the time of the next due command, if no reply arrives before; null without commands. */
  nextDueMs(nowMs: number): number | null {
    let next: number | null = null;
    for (const command of this.inWindow()) {
      const at = this.nextMs(command, nowMs);
      if (next === null || at < next) next = at;
    }
    return next;
  }

  private inWindow(): PendingCommand[] {
    const window: PendingCommand[] = [];
    let end: number | undefined;
    for (const [id, command] of this.commands) {
      end ??= id + IDS_MAX;
      if (id >= end) break;
      window.push(command);
    }
    return window;
  }

  private nextMs(command: PendingCommand, nowMs: number): number {
    return Math.max(command.dueMs, this.messages.availableMs(nowMs), this.bytes.availableMs(nowMs));
  }
}

/** A token bucket of one second. A rate of 0 means no limit, and nothing is spent. One item may be larger than the bucket.
 *
 * It counts thousandths of tokens, so that whole milliseconds have whole results in every language. */
class Budget {
  private rate = 0;
  private atMs = 0;
  private thousandths = Infinity;

  /** Sets the rate. Tokens that were spent before a resume stay spent. */
  limit(rate: number): void {
    this.rate = rate;
    if (rate) this.thousandths = Math.min(this.thousandths, rate * 1000);
  }

  /** Returns the time from which tokens may be spent. */
  availableMs(nowMs: number): number {
    const { rate } = this;
    if (rate) this.thousandths = Math.min(rate * 1000, this.thousandths + (nowMs - this.atMs) * rate);
    this.atMs = nowMs;
    return !rate || this.thousandths >= 0 ? nowMs : nowMs + Math.ceil(-this.thousandths / rate);
  }

  spend(amount: number): void {
    if (this.rate) this.thousandths -= amount * 1000;
  }
}

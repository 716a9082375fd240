/** The deadlines of a session machine, which share one timer. Pure. */

/** The end of the pause before an attempt, or of a step of the attempt. */
export const ATTEMPT = -1;
export const HEARTBEAT = -2;
/** A command is due. */
export const COMMANDS = -3;
/** A new token is requested again, or the renewal of the token has no answer. Keys above 0 are the numbers of calls; 0 is a move to
 * another room. */
export const RENEWAL = -4;

/** The deadlines by key. Of two that are due at the same time, the one that was set first is first. */
export class Deadlines {
  /** Whether `nextMs` may be another one; the user resets it. */
  hasChanged = false;
  private readonly atMs = new Map<number, number>();

  /** Sets or replaces a deadline. */
  set(key: number, atMs: number): void {
    this.hasChanged = true;
    this.atMs.delete(key);
    this.atMs.set(key, atMs);
  }

  /** Removes a deadline. Idempotent. */
  cancel(key: number): void {
    if (this.atMs.delete(key)) this.hasChanged = true;
  }

  clear(): void {
    this.hasChanged = true;
    this.atMs.clear();
  }

  /** The earliest deadline; null without any. */
  get nextMs(): number | null {
    return this.earliest()?.[1] ?? null;
  }

  /** Removes the earliest deadline that is due, and returns its key and time; null if none is due. */
  popDue(nowMs: number): [key: number, atMs: number] | null {
    const first = this.earliest();
    if (!first || first[1] > nowMs) return null;
    this.cancel(first[0]);
    return first;
  }

  private earliest(): [key: number, atMs: number] | null {
    let first: [number, number] | null = null;
    for (const entry of this.atMs) if (!first || entry[1] < first[1]) first = entry;
    return first;
  }
}

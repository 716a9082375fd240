/** The states near the shown tick. They are requested in chunks ahead of the play, and old ones are discarded. */

import { readStates, type State } from "./api.js";

const KEPT_MAX = 600;
const CHUNK = 25;
const AHEAD = 100; // at 8 times the speed of a room with 20 Hz, 0.6 seconds

export class States {
  private readonly kept = new Map<number, State>();
  private readonly missing = new Set<number>();
  private wanted = 0;
  private isLoading = false;

  constructor(
    private readonly first: number,
    private readonly last: number,
    private readonly arrived: () => void,
    private readonly failed: (error: Error) => void,
  ) {}

  get(tick: number): State | undefined {
    return this.kept.get(tick);
  }

  /** All kept states up to a tick without a gap, the oldest first. */
  until(tick: number, count: number): State[] {
    const found: State[] = [];
    for (let at = tick; at > tick - count; at--) {
      const state = this.kept.get(at);
      if (!state) break;
      found.push(state);
    }
    return found.reverse();
  }

  /** Whether the replay has no state of a tick, because the file is damaged there. */
  isMissing(tick: number): boolean {
    return this.missing.has(tick);
  }

  /** Requests the states from just before a tick, for the comparison with the tick before, to some ticks ahead.
   *
   * The server replays one request after the other, so a second one would only delay the tick that is wanted next. */
  want(tick: number): void {
    this.wanted = tick;
    if (this.isLoading) return;
    const from = Math.max(this.first, tick - 1);
    for (let at = from; at <= Math.min(this.last, tick + AHEAD); at++) {
      if (this.kept.has(at) || this.missing.has(at)) continue;
      void this.load(at, Math.min(this.last, at + CHUNK - 1));
      return;
    }
  }

  private async load(from: number, to: number): Promise<void> {
    const wanted = this.wanted;
    this.isLoading = true;
    let hasFailed = false;
    try {
      const states = await readStates(from, to);
      for (const state of states) this.kept.set(state.tick, state);
      this.discard();
      if (!states.length) this.missing.add(from);
    } catch (error) {
      hasFailed = true;
      this.failed(error as Error);
    } finally {
      this.isLoading = false;
    }
    if (hasFailed && wanted === this.wanted) return; // the next move of the slider tries again
    this.arrived();
    this.want(this.wanted);
  }

  private discard(): void {
    if (this.kept.size <= KEPT_MAX) return;
    const far = [...this.kept.keys()].sort((a, b) => Math.abs(b - this.wanted) - Math.abs(a - this.wanted));
    far.slice(0, this.kept.size - KEPT_MAX).forEach((tick) => this.kept.delete(tick));
  }
}

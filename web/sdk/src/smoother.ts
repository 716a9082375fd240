/** Hides the corrections of a prediction: each one becomes an offset that decays, so that the drawn entity does not jump.
 *
 * The decay is exponential in time, not in frames: it looks the same on every display. */

import { shortWay } from "./interpolation.js";

const HALF_LIFE_MS = 100;

export interface SmootherOptions {
  /** The fields whose corrections are smoothed; by default x, y and z. */
  readonly fields?: readonly string[];
  /** The fields that are angles, in radians: they are smoothed by the shorter way. */
  readonly angles?: readonly string[];
  /** The time in which half of a correction is applied, 100 ms by default; 0 applies it at once. */
  readonly halfLifeMs?: number;
  /** Above this distance (of the fields, together) a correction is applied at once: the entity was moved, not mispredicted. */
  readonly snapDistance?: number;
  /** A monotonic clock, milliseconds. */
  readonly now?: () => number;
}

type Numbers = Record<string, number>;

export class Smoother {
  readonly now: () => number;
  private readonly fields: readonly string[];
  private readonly angles: readonly string[];
  private readonly halfLifeMs: number;
  private readonly snapDistance: number;
  private readonly offset: Numbers = {};
  private offsetMs = 0;
  /** The state before the newest step. */
  private readonly previous: Numbers = {};
  private hasPrevious = false;
  private steppedMs = 0;

  constructor(options: SmootherOptions) {
    this.now = options.now ?? (() => performance.now());
    this.fields = options.fields ?? ["x", "y", "z"];
    this.angles = options.angles ?? [];
    this.halfLifeMs = options.halfLifeMs ?? HALF_LIFE_MS;
    this.snapDistance = options.snapDistance ?? Infinity;
  }

  /** Records a step of the prediction from this state. */
  stepped(from: Readonly<Numbers>): void {
    Object.assign(this.previous, from);
    this.hasPrevious = true;
    this.steppedMs = this.now();
  }

  /** Records that the server has corrected the prediction. */
  corrected(before: Readonly<Numbers>, after: Readonly<Numbers>): void {
    const { offset, previous } = this;
    this.decay(this.now());
    for (const name of this.names(after)) {
      const error = this.difference(name, before[name]!, after[name]!);
      offset[name] = (offset[name] ?? 0) + error;
      if (this.hasPrevious) previous[name]! -= error;
    }
    const distance = Math.hypot(...this.fields.map((name) => offset[name] ?? 0));
    if (distance > this.snapDistance || !this.halfLifeMs) this.clearOffset();
  }

  /** Returns a copy of a state with the offset, between the last two steps if these have a duration. */
  sample<State extends Readonly<Numbers>>(state: State, nowMs: number, tickMs: number): State {
    this.decay(nowMs);
    const drawn: Numbers = { ...state };
    const isBetween = this.hasPrevious && tickMs > 0;
    const left = isBetween ? Math.min(1, Math.max(0, 1 - (nowMs - this.steppedMs) / tickMs)) : 0;
    for (const name of this.names(state)) {
      const back = left && this.difference(name, this.previous[name]!, state[name]!);
      drawn[name]! += left * back + (this.offset[name] ?? 0);
    }
    return drawn as State;
  }

  reset(): void {
    this.clearOffset();
    this.hasPrevious = false;
  }

  private names(state: Readonly<Numbers>): string[] {
    return [...this.fields, ...this.angles].filter((name) => name in state);
  }

  private difference(name: string, from: number, to: number): number {
    return this.angles.includes(name) ? shortWay(from - to) : from - to;
  }

  private decay(nowMs: number): void {
    const share = this.halfLifeMs ? 0.5 ** (Math.max(0, nowMs - this.offsetMs) / this.halfLifeMs) : 0;
    for (const name in this.offset) this.offset[name]! *= share;
    this.offsetMs = Math.max(this.offsetMs, nowMs);
  }

  private clearOffset(): void {
    for (const name in this.offset) this.offset[name] = 0;
  }
}

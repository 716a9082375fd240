/** The marks above the slider: where entries are, and the divergence in red. It follows the progress of the replay. */

import { type Kind, type Overview, readOverview, type Recording } from "./api.js";
import { by, colour, prepare } from "./elements.js";

const BUCKETS = 400;
const REFRESH_MS = 500;
const LOUD: readonly Kind[] = ["error"];
const EDGE = 8; // half of the slider's handle, so that a mark is above the handle at its tick

export class Marks {
  overview: Overview | null = null;

  constructor(
    private readonly recording: Recording,
    private readonly changed: () => void,
    private readonly failed: (error: Error) => void,
  ) {}

  /** Reads the overview until the whole recording has been replayed. */
  async follow(): Promise<void> {
    try {
      this.overview = await readOverview(BUCKETS);
      this.changed();
    } catch (error) {
      this.failed(error as Error);
    }
    if (!this.overview?.is_complete) setTimeout(() => void this.follow(), REFRESH_MS);
  }

  draw(): void {
    const prepared = prepare(by<HTMLCanvasElement>("marks"));
    if (!prepared || !this.overview) return;
    const { context, width, height } = prepared;
    const { first_tick: first, last_tick: last, keyframes } = this.recording;
    const toX = (tick: number) => EDGE + ((tick - first) / Math.max(1, last - first)) * (width - 2 * EDGE);
    const bars = this.overview.buckets.length;
    context.fillStyle = colour("--line");
    for (const tick of keyframes) context.fillRect(toX(tick), height - 3, 1, 3);
    this.overview.buckets.forEach((counts, place) => {
      const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
      if (!total) return;
      const isLoud = LOUD.some((kind) => counts[kind]);
      const tall = Math.min(height - 4, 3 + 4 * Math.log2(1 + total));
      context.fillStyle = colour(isLoud ? "--bad" : "--accent");
      context.globalAlpha = isLoud ? 1 : 0.55;
      const left = EDGE + (place / bars) * (width - 2 * EDGE);
      context.fillRect(left, height - 3 - tall, Math.max(1, (width - 2 * EDGE) / bars - 0.5), tall);
    });
    context.globalAlpha = 1;
    if (!this.overview.divergence) return;
    context.fillStyle = colour("--bad");
    const left = toX(this.overview.divergence.tick);
    context.fillRect(left - 1, 0, 2, height);
    context.globalAlpha = 0.15;
    context.fillRect(left, 0, width - left, height);
  }
}

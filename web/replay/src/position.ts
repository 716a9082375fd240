/** The tick that is shown, and the play. The play waits for a state that has not arrived yet. Without I/O. */

export class Position {
  tick: number;
  isPlaying = false;
  speed = 1;
  private fraction = 0;

  constructor(
    private readonly first: number,
    private readonly last: number,
    private readonly rateHz: number,
    private readonly moved: () => void,
  ) {
    this.tick = first;
  }

  seek(tick: number): void {
    if (!Number.isFinite(tick)) return;
    this.tick = Math.min(this.last, Math.max(this.first, Math.round(tick)));
    this.fraction = 0;
    this.moved();
  }

  step(ticks: number): void {
    this.isPlaying = false;
    this.seek(this.tick + ticks);
  }

  toggle(): void {
    this.isPlaying = !this.isPlaying;
    if (this.isPlaying && this.tick === this.last) this.seek(this.first);
    else this.moved();
  }

  /** Continues the play.
   *
   * @param seconds: the time since the last call.
   * @param has: whether the state of a tick is there. */
  advance(seconds: number, has: (tick: number) => boolean): void {
    if (!this.isPlaying) return;
    this.fraction += seconds * this.rateHz * this.speed;
    let tick = this.tick;
    while (this.fraction >= 1 && tick < this.last && has(tick + 1)) {
      tick += 1;
      this.fraction -= 1;
    }
    this.fraction = Math.min(this.fraction, 1); // the play does not hurry after a wait
    if (tick === this.tick) return;
    this.tick = tick;
    if (tick === this.last) this.isPlaying = false;
    this.moved();
  }
}

/** Smooth motion out of ticks: where things are between two snapshots, shown a little in the past.
 *
 * A snapshot says where everything was at a tick. Shown as it comes, motion jumps with every tick and stands still when one
 * is late. So the world is shown some ticks behind: late ticks have arrived by then, and what lies between two of them is
 * known. Entity interpolation as in Valve's "Source Multiplayer Networking". */

import type { Field } from "./fields.js";
import type { World } from "./world.js";

const SNAPSHOTS_MAX = 16;
const OFFSETS_MAX = 64;
/** After this many late frames in a row the ticks themselves have shifted, as when one of them has blocked. */
const LATE_FRAMES = 4;

/** Which tick to show now.
 *
 * A frame is never early, only late; so the least late of the last ones says when ticks happen. */
export class TickClock {
  private readonly offsetsMs: number[] = [];
  private lastTick = 0;
  private leastMs = Infinity;

  /** @param delayTicks: how far in the past the world is shown; two ride out one tick that is lost or late. */
  constructor(
    private readonly tickRateHz: number,
    private readonly delayTicks = 2,
  ) {}

  /** The state of a tick has arrived. */
  heard(tick: number, nowMs: number): void {
    const { offsetsMs } = this;
    if (tick < this.lastTick) offsetsMs.length = 0; // the room was restored: its old ticks say nothing of the new ones
    this.lastTick = tick;
    offsetsMs.push(nowMs - (tick * 1000) / this.tickRateHz);
    if (offsetsMs.length > OFFSETS_MAX) offsetsMs.shift();
    this.leastMs = Math.min(...offsetsMs);
    const leastOfLast = Math.min(...offsetsMs.slice(-LATE_FRAMES));
    if (leastOfLast - this.leastMs > (this.delayTicks * 500) / this.tickRateHz) {
      offsetsMs.splice(0, offsetsMs.length - LATE_FRAMES);
      this.leastMs = leastOfLast;
    }
  }

  /** The tick to show, with its fraction; minus infinity before the first frame. */
  shown(nowMs: number): number {
    return ((nowMs - this.leastMs) * this.tickRateHz) / 1000 - this.delayTicks;
  }
}

interface Snapshot {
  tick: number;
  ids: number[];
  places: Map<number, number>;
  columns: number[][];
}

/** The last snapshots of one table, of the fields that are shown. Its arrays are used again and again. */
export class Interpolation {
  private readonly ring: Snapshot[] = [];
  private newest = -1;
  private count = 0;
  private world: World | null = null;
  private readonly fields = new Map<string, { field: Field; place: number }>();

  /** @param table: the table's name. */
  constructor(
    private readonly table: string,
    private readonly names: readonly string[],
  ) {}

  /** Takes the table as it is now; call it after each state.
   *
   * Another world replaces all that is known. When the tick has gone back, that tick and later ones are forgotten.
   *
   * @throws RangeError: the table has no such field. */
  heard(world: World): void {
    if (world !== this.world) this.begin(world);
    if (!this.fields.size) return;
    while (this.count && this.ring[this.newest]!.tick >= world.tick) {
      this.newest = (this.newest - 1 + SNAPSHOTS_MAX) % SNAPSHOTS_MAX;
      this.count--;
    }
    this.newest = (this.newest + 1) % SNAPSHOTS_MAX;
    this.count = Math.min(SNAPSHOTS_MAX, this.count + 1);
    const snapshot = (this.ring[this.newest] ??= { tick: 0, ids: [], places: new Map(), columns: [] });
    const table = world.table(this.table);
    snapshot.tick = world.tick;
    snapshot.ids = table.ids;
    snapshot.places.clear();
    snapshot.ids.forEach((id, row) => snapshot.places.set(id, row));
    for (const [name, { place }] of this.fields) table.numbers(name, (snapshot.columns[place] ??= []));
  }

  private begin(world: World): void {
    this.world = world;
    this.count = 0;
    this.fields.clear();
    if (!world.tableNames.includes(this.table)) return;
    const table = world.table(this.table);
    this.names.forEach((name, place) => {
      const field = table.fields.find((one) => one.name === name);
      if (!field) throw new RangeError(`no field ${name} in ${this.table}`);
      this.fields.set(name, { field, place });
    });
  }

  /** Calls for each entity that is to be shown at a tick that may lie between two snapshots.
   *
   * What cannot lie between two values (a number of lives) keeps the older one. Who is in the older snapshot alone stays
   * where it was; who is in the newer alone is not there yet. Before the oldest and after the newest nothing moves. */
  at(tick: number, visit: (id: number, number: (field: string) => number) => void): void {
    const older = this.before(tick);
    if (!older) return;
    const newer = this.after(tick);
    const share = newer && newer.tick > older.tick ? (tick - older.tick) / (newer.tick - older.tick) : 0;
    older.ids.forEach((id, row) => {
      const there = newer?.places.get(id);
      visit(id, (name) => {
        const known = this.fields.get(name);
        if (!known) throw new RangeError(`no field ${name} is shown`);
        const here = older.columns[known.place]![row]!;
        const { kind } = known.field;
        if (there === undefined || share <= 0 || (kind !== "real" && kind !== "angle")) return here;
        const way = newer!.columns[known.place]![there]! - here;
        return here + share * (kind === "angle" ? shortWay(way) : way);
      });
    });
  }

  private before(tick: number): Snapshot | null {
    let found: Snapshot | null = null;
    for (let back = 0; back < this.count; back++) {
      found = this.ring[(this.newest - back + SNAPSHOTS_MAX) % SNAPSHOTS_MAX]!;
      if (found.tick <= tick) return found;
    }
    return found;
  }

  private after(tick: number): Snapshot | null {
    let found: Snapshot | null = null;
    for (let back = 0; back < this.count; back++) {
      const snapshot = this.ring[(this.newest - back + SNAPSHOTS_MAX) % SNAPSHOTS_MAX]!;
      if (snapshot.tick <= tick) return found;
      found = snapshot;
    }
    return null; // all are newer: nothing moves yet
  }
}

/** An angle's difference, the short way round. */
export function shortWay(way: number): number {
  const turn = 2 * Math.PI;
  return ((((way + Math.PI) % turn) + turn) % turn) - Math.PI;
}

/** Entity interpolation: smooth motion between two snapshots, rendered slightly in the past.
 *
 * A snapshot is the state at one tick. Rendered on arrival, motion jumps with every tick and stops when a tick is late. The
 * world is therefore rendered some ticks behind: late ticks have arrived by then, and values between two ticks can be computed.
 * As in Valve's "Source Multiplayer Networking". */

import type { Field } from "./fields.js";
import type { Group, ReadNumber, ReadVector } from "./groups.js";
import type { World } from "./world.js";

const SNAPSHOTS_MAX = 16;
const OFFSETS_MAX = 64;
/** After this number of late frames in a row, the room's ticks themselves have shifted, for example because a tick blocked. */
const LATE_FRAMES = 4;

/** Computes the tick to render now.
 *
 * A frame is never early, only late, so the least delayed of the last frames shows when ticks happen. */
export class TickClock {
  private readonly offsetsMs: number[] = [];
  private lastTick = 0;
  private leastMs = Infinity;

  /** @param delayTicks: the delay of rendering; two ticks hide one tick that is lost or late. */
  constructor(
    private readonly tickRateHz: number,
    private readonly delayTicks = 2,
  ) {}

  /** Records that the state of a tick arrived. */
  observe(tick: number, nowMs: number): void {
    const { offsetsMs } = this;
    if (tick < this.lastTick) offsetsMs.length = 0; // the room was restored, so its old ticks are meaningless
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

  /** Returns the tick to render, with its fraction; minus infinity before the first frame. */
  renderTick(nowMs: number): number {
    return ((nowMs - this.leastMs) * this.tickRateHz) / 1000 - this.delayTicks;
  }
}

interface Snapshot {
  tick: number;
  ids: number[];
  rowsById: Map<number, number>;
  columns: number[][];
}

/** The last snapshots of one table, for the named fields. Its arrays are reused. */
export class Interpolation {
  private readonly ring: Snapshot[] = [];
  private newest = -1;
  private count = 0;
  private world: World | null = null;
  private readonly fields = new Map<string, { field: Field; index: number }>();
  private readonly groups = new Map<string, Group>();
  private readonly here: number[] = [];
  private readonly there: number[] = [];

  /** @param table: the table's name.
   * @param names: the fields, vectors and quaternions. */
  constructor(
    private readonly table: string,
    private readonly names: readonly string[],
  ) {}

  /** Adds a snapshot of the table; call it after each state.
   *
   * A different world discards all snapshots. If the tick went back, that tick and later ones are discarded.
   *
   * @throws RangeError: the table has no such field. */
  push(world: World): void {
    if (world !== this.world) this.begin(world);
    if (!this.fields.size) return;
    while (this.count && this.ring[this.newest]!.tick >= world.tick) {
      this.newest = (this.newest - 1 + SNAPSHOTS_MAX) % SNAPSHOTS_MAX;
      this.count--;
    }
    this.newest = (this.newest + 1) % SNAPSHOTS_MAX;
    this.count = Math.min(SNAPSHOTS_MAX, this.count + 1);
    const snapshot = (this.ring[this.newest] ??= { tick: 0, ids: [], rowsById: new Map(), columns: [] });
    const table = world.table(this.table);
    snapshot.tick = world.tick;
    snapshot.ids = table.ids;
    snapshot.rowsById.clear();
    snapshot.ids.forEach((id, row) => snapshot.rowsById.set(id, row));
    for (const [name, { index }] of this.fields) table.numbers(name, (snapshot.columns[index] ??= []));
  }

  private begin(world: World): void {
    this.world = world;
    this.count = 0;
    this.fields.clear();
    this.groups.clear();
    if (!world.tableNames.includes(this.table)) return;
    const table = world.table(this.table);
    for (const group of table.groups) if (this.names.includes(group.name)) this.groups.set(group.name, group);
    const names = this.names.flatMap((name) => this.groups.get(name)?.parts ?? name);
    names.forEach((name, index) => {
      const field = table.fields.find((one) => one.name === name);
      if (!field) throw new RangeError(`the table ${this.table} has no field ${name}`);
      this.fields.set(name, { field, index });
    });
  }

  /** Calls `visit` for each entity at a tick, which may be between two snapshots.
   *
   * `vector` reads a vector (x, y, z) or a quaternion (x, y, z, w); rotations turn by the shorter way, at a constant speed.
   * Values that cannot be interpolated (a number of lives) keep the older one. An entity that exists only in the older snapshot
   * keeps its values; one that exists only in the newer snapshot is not visited yet. Before the oldest and after the newest
   * snapshot nothing moves.
   *
   * @throws RangeError: the field was not named in the constructor. */
  sample(tick: number, visit: (id: number, number: ReadNumber, vector: ReadVector) => void): void {
    const older = this.before(tick);
    if (!older) return;
    const newer = this.after(tick);
    const fraction = newer && newer.tick > older.tick ? (tick - older.tick) / (newer.tick - older.tick) : 0;
    older.ids.forEach((id, row) => {
      const there = newer?.rowsById.get(id);
      const isBetween = there !== undefined && fraction > 0;
      const number: ReadNumber = (name) => {
        const { field, index } = this.known(name);
        const here = older.columns[index]![row]!;
        if (!isBetween || (field.kind !== "real" && field.kind !== "angle")) return here;
        const difference = newer!.columns[index]![there]! - here;
        return here + fraction * (field.kind === "angle" ? shortWay(difference) : difference);
      };
      const vector: ReadVector = (name, into) => {
        const group = this.groups.get(name);
        if (!group) throw new RangeError(`the vector ${name} is not interpolated: name it in the constructor`);
        const read = (snapshot: Snapshot, row: number) => (part: string) => snapshot.columns[this.known(part).index]![row]!;
        if (!isBetween) return group.join(read(older, row), into);
        group.join(read(older, row), this.here);
        group.join(read(newer!, there), this.there);
        return group.mix(this.here, this.there, fraction, into);
      };
      visit(id, number, vector);
    });
  }

  private known(name: string): { field: Field; index: number } {
    const known = this.fields.get(name);
    if (!known) throw new RangeError(`the field ${name} is not interpolated: name it in the constructor`);
    return known;
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

/** Wraps the difference of two angles to the shorter direction, from -π to π. */
export function shortWay(difference: number): number {
  const turn = 2 * Math.PI;
  return ((((difference + Math.PI) % turn) + turn) % turn) - Math.PI;
}

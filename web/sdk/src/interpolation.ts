/** Smooth motion out of ticks: where things are between two snapshots, shown a little in the past.
 *
 * A snapshot says where everything was at a tick. Shown as it comes, motion jumps with every tick and stands still when one
 * is late. So the world is shown some ticks behind: late ticks have arrived by then, and what lies between two of them is
 * known. Entity interpolation as in Valve's "Source Multiplayer Networking". */

import type { Field } from "./fields.js";
import type { TableView, World } from "./world.js";

const SNAPSHOTS_MAX = 16;
const OFFSETS_MAX = 64;

/** Which tick is to be shown now. A frame is never early, only late; so the least late of the last ones says when ticks
 * happen. */
export class TickClock {
  private readonly offsetsMs: number[] = [];
  private at = 0;

  /** @param delayTicks: how far in the past the world is shown; two ride out one tick that is lost or late. */
  constructor(
    private readonly tickRateHz: number,
    private readonly delayTicks = 2,
  ) {}

  /** The state of a tick has arrived. */
  heard(tick: number, nowMs: number): void {
    this.offsetsMs[this.at] = nowMs - (tick * 1000) / this.tickRateHz;
    this.at = (this.at + 1) % OFFSETS_MAX;
  }

  /** The tick to show, with its fraction; minus infinity before the first was heard. */
  shown(nowMs: number): number {
    if (!this.offsetsMs.length) return -Infinity;
    const least = this.offsetsMs.reduce((least, offset) => Math.min(least, offset), Infinity);
    return ((nowMs - least) * this.tickRateHz) / 1000 - this.delayTicks;
  }
}

interface Snapshot {
  tick: number;
  ids: number[];
  places: Map<number, number>;
  columns: number[][];
}

/** One table's last snapshots, of the fields that are shown. Its arrays are used again and again. */
export class Interpolation {
  private readonly ring: Snapshot[] = [];
  private newest = -1;
  private count = 0;
  private readonly fields: Map<string, { field: Field; place: number }>;

  constructor(
    private readonly table: TableView,
    names: readonly string[],
  ) {
    this.fields = new Map(
      names.map((name, place) => {
        const field = table.fields.find((one) => one.name === name);
        if (!field) throw new RangeError(`no field ${name} in ${table.name}`);
        return [name, { field, place }];
      }),
    );
  }

  /** Takes the table as it stands now; call it after each state. */
  heard(world: World): void {
    if (this.newest < 0 || world.tick > this.ring[this.newest]!.tick) {
      this.newest = (this.newest + 1) % SNAPSHOTS_MAX;
      this.count = Math.min(SNAPSHOTS_MAX, this.count + 1);
    }
    const snapshot = (this.ring[this.newest] ??= { tick: 0, ids: [], places: new Map(), columns: [] });
    snapshot.tick = world.tick;
    snapshot.ids = this.table.ids;
    snapshot.places.clear();
    snapshot.ids.forEach((id, row) => snapshot.places.set(id, row));
    for (const [name, { place }] of this.fields) this.table.numbers(name, (snapshot.columns[place] ??= []));
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

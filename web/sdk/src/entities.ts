/** Tells who enters, changes and leaves, so that a scene graph need not look at whole tables. */

import type { TableView, World } from "./world.js";

export interface EntityListener {
  enter?(id: number): void;
  /** A watched field has another value. */
  change?(id: number): void;
  leave?(id: number): void;
}

/** Watches one table of the world that it is given. Call `heard` after each state.
 *
 * An entity that moves from one channel to another has neither left nor entered. */
export class EntityWatch {
  private world: World | null = null;
  private readonly known = new Map<number, number[]>();
  private readonly spare: number[][] = [];

  /** @param fields: the fields whose changes are reported. */
  constructor(
    private readonly table: string,
    private readonly fields: readonly string[],
    private readonly listener: EntityListener,
  ) {}

  /** Reports what has happened since the last call. In another world all entities have left, and others have entered. */
  heard(world: World): void {
    if (world !== this.world) this.end();
    this.world = world;
    if (!world.tableNames.includes(this.table)) return;
    const table = world.table(this.table);
    for (const id of this.known.keys()) if (!table.has(id)) this.forget(id);
    this.compare(table);
  }

  private compare(table: TableView): void {
    const { known, listener, fields } = this;
    table.each((id, number) => {
      const before = known.get(id);
      const now = before ?? this.spare.pop() ?? [];
      let hasChanged = false;
      for (let place = 0; place < fields.length; place++) {
        const value = number(fields[place]!);
        hasChanged ||= now[place] !== value;
        now[place] = value;
      }
      if (!before) {
        known.set(id, now);
        listener.enter?.(id);
      } else if (hasChanged) listener.change?.(id);
    });
  }

  /** The world is gone: all entities have left. */
  end(): void {
    for (const id of this.known.keys()) this.forget(id);
    this.world = null;
  }

  private forget(id: number): void {
    this.spare.push(this.known.get(id)!);
    this.known.delete(id);
    this.listener.leave?.(id);
  }
}

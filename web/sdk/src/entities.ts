/** Who enters, changes and leaves: what a scene graph wants to be told instead of looking at whole tables. */

import type { TableView } from "./world.js";

export interface EntityListener {
  enter?(id: number): void;
  /** Some field that is watched is another one. */
  change?(id: number): void;
  leave?(id: number): void;
}

/** Watches one table. Call `heard` after each state: what has happened since the last time is told.
 *
 * An entity that goes from one channel to another has neither left nor entered. */
export class EntityWatch {
  private known = new Map<number, number[]>();
  private spare: number[][] = [];

  /** @param fields: those whose change counts; none: nobody is told of changes. */
  constructor(
    private readonly table: TableView,
    private readonly fields: readonly string[],
    private readonly listener: EntityListener,
  ) {}

  heard(): void {
    const { known, listener } = this;
    for (const id of known.keys()) {
      if (this.table.has(id)) continue;
      this.spare.push(known.get(id)!);
      known.delete(id);
      listener.leave?.(id);
    }
    this.table.each((id, number) => {
      const before = known.get(id);
      const now = before ?? this.spare.pop() ?? [];
      let hasChanged = false;
      for (let place = 0; place < this.fields.length; place++) {
        const value = number(this.fields[place]!);
        hasChanged ||= now[place] !== value;
        now[place] = value;
      }
      if (!before) {
        known.set(id, now);
        listener.enter?.(id);
      } else if (hasChanged) listener.change?.(id);
    });
  }

  /** The table is gone: all have left. */
  end(): void {
    for (const id of this.known.keys()) this.listener.leave?.(id);
    this.known.clear();
  }
}

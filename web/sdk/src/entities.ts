/** Reports the entities that enter, change and leave, so that a scene graph need not scan whole tables. */

import type { TableView, World } from "./world.js";

export interface EntityListener {
  enter?(id: number): void;
  /** A tracked field changed its value. */
  change?(id: number): void;
  leave?(id: number): void;
}

/** Tracks the entities of one table. Call `update` after each state.
 *
 * An entity that moves from one channel to another neither leaves nor enters. */
export class EntityTracker {
  private world: World | null = null;
  private readonly known = new Map<number, number[]>();
  private readonly spare: number[][] = [];
  private numbers: readonly string[] = [];

  /** @param fields: the fields whose changes are reported; vectors and quaternions too. */
  constructor(
    private readonly table: string,
    private readonly fields: readonly string[],
    private readonly listener: EntityListener,
  ) {}

  /** Reports the changes since the last call. A different world means that all entities left and new ones entered. */
  update(world: World): void {
    if (world !== this.world) this.end();
    const isNew = world !== this.world;
    this.world = world;
    if (!world.tableNames.includes(this.table)) return;
    const table = world.table(this.table);
    if (isNew) this.numbers = this.fields.flatMap((name) => table.groups.find((one) => one.name === name)?.parts ?? name);
    for (const id of this.known.keys()) if (!table.has(id)) this.remove(id);
    this.compare(table);
  }

  private compare(table: TableView): void {
    const { known, listener, numbers } = this;
    table.each((id, number) => {
      const before = known.get(id);
      const now = before ?? this.spare.pop() ?? [];
      let hasChanged = false;
      for (let index = 0; index < numbers.length; index++) {
        const value = number(numbers[index]!);
        hasChanged ||= now[index] !== value;
        now[index] = value;
      }
      if (!before) {
        known.set(id, now);
        listener.enter?.(id);
      } else if (hasChanged) listener.change?.(id);
    });
  }

  /** Reports all entities as left, when the world is gone. */
  end(): void {
    for (const id of this.known.keys()) this.remove(id);
    this.world = null;
  }

  private remove(id: number): void {
    this.spare.push(this.known.get(id)!);
    this.known.delete(id);
    this.listener.leave?.(id);
  }
}

/** The mirrored state of a room: the tables of each channel, and a merged view of all channels.
 *
 * Read entities by table: `world.table("ships")`. */

import { BitReader } from "./bits.js";
import { Crc32 } from "./crc32.js";
import { MalformedMessage, ClientError } from "./errors.js";
import { Field } from "./fields.js";
import type { Group, ReadNumber, ReadVector } from "./groups.js";
import { decodeText, TableLayout, TableState } from "./table.js";
import type { StateDescription } from "./types.js";

/** The part of a frame for one channel. */
export interface Part {
  channel: number;
  isKeyframe: boolean;
  hasChecksum: boolean;
  packed: Uint8Array;
}

/** The client does not have the baseline of a delta: a frame is missing. */
export class WrongBaseline extends ClientError {}

interface Channel {
  lastTick: number;
  tables: TableState[];
}

const NEVER = -1;

export class World {
  /** The tick of the last frame, in all channels. */
  tick = 0;
  readonly layouts: readonly TableLayout[];
  private readonly channels = new Map<number, Channel>();
  private readonly bits = new BitReader();
  private readonly tables: Map<string, TableView>;

  constructor(private readonly description: StateDescription) {
    this.layouts = description.tables.map(
      ({ name, fields, groups }) => new TableLayout(name, fields.map((field) => new Field(field)), groups),
    );
    this.tables = new Map(this.layouts.map((layout, index) => [layout.name, new TableView(layout, this, index)]));
  }

  /** Returns whether this world has the given description. */
  fits(description: StateDescription): boolean {
    return JSON.stringify(description) === JSON.stringify(this.description);
  }

  /** Removes all entities. Views of the tables stay valid. */
  clear(): void {
    this.finish(0, new Set());
  }

  get channelNumbers(): number[] {
    return [...this.channels.keys()];
  }

  /** Returns a table by its name, merged over all channels.
   *
   * @throws RangeError: the room has no such table. */
  table<Entity extends object = any>(name: string): TableView<Entity> {
    const table = this.tables.get(name) as TableView<Entity> | undefined;
    if (!table) throw new RangeError(`unknown table ${name}; the tables of this room are: ${[...this.tables.keys()].join(", ")}`);
    return table;
  }

  get tableNames(): string[] {
    return [...this.tables.keys()];
  }

  /** Applies the part of a frame for one channel. Call `finish` after all parts of the frame. Returns false if the part's
   * checksum differs.
   *
   * @throws WrongBaseline, MalformedMessage: the world is unchanged. */
  apply(part: Part, tick: number, age: number): boolean {
    let channel = this.channels.get(part.channel);
    if (!part.isKeyframe && this.tick !== tick - age) {
      throw new WrongBaseline(`the delta is relative to tick ${tick - age}; the world is at tick ${this.tick}`);
    }
    if (part.isKeyframe || !channel) {
      channel = { lastTick: NEVER, tables: this.layouts.map((layout) => new TableState(layout)) };
    } else if (channel.lastTick !== tick - 1) {
      for (const table of channel.tables) table.clearHistory();
    }
    const agrees = this.read(part, channel.tables);
    for (const table of channel.tables) table.commit();
    channel.lastTick = tick;
    this.channels.set(part.channel, channel);
    return agrees;
  }

  private read(part: Part, tables: TableState[]): boolean {
    const { bits } = this;
    bits.open(part.packed);
    for (const table of tables) table.stage();
    let seen = 0;
    for (let tag = bits.varint(); tag; tag = bits.varint()) {
      const index = Math.floor(tag / 8);
      if (index <= seen || index > tables.length) throw new MalformedMessage(`the section for table ${index - 1} is out of order or out of range`);
      seen = index;
      tables[index - 1]!.read(bits, tag % 8);
    }
    const agrees = !part.hasChecksum || this.checksumOf(tables) === u32(bits.bytes(4));
    if (!bits.isAtEnd) throw new MalformedMessage("unexpected bytes after the last section");
    return agrees;
  }

  private checksumOf(tables: readonly TableState[]): number {
    const crc = new Crc32();
    for (const table of tables) table.addTo(crc);
    return crc.value;
  }

  /** Ends a frame: sets the tick, and removes all channels that are not in `keep` (null: keeps all). */
  finish(tick: number, keep: ReadonlySet<number> | null): void {
    this.tick = tick;
    if (keep) {
      for (const channel of [...this.channels.keys()]) if (!keep.has(channel)) this.channels.delete(channel);
    }
    for (const table of this.tables.values()) table.invalidate();
  }

  /** Discards the previous values of all channels after a resume, as the server does. */
  clearHistory(): void {
    for (const channel of this.channels.values()) channel.lastTick = NEVER;
  }

  /** Returns a channel's tables, in the description's order; undefined before its first keyframe. */
  channel(number: number): readonly TableState[] | undefined {
    return this.channels.get(number)?.tables;
  }

  /** Returns the table with this index of every channel in which it has entities. */
  nonEmptyTables(index: number): TableState[] {
    const tables: TableState[] = [];
    for (const channel of this.channels.values()) {
      const table = channel.tables[index]!;
      if (table.size) tables.push(table);
    }
    return tables;
  }

  /** Returns the checksum of all mirrored tables. It is equal for equal worlds in all clients and languages. */
  checksum(): number {
    const crc = new Crc32();
    for (const table of this.tables.values()) table.addTo(crc);
    return crc.value;
  }
}

/** The position of an entity in its channel's arrays. Valid for one state. */
interface Row {
  id: number;
  table: TableState;
  row: number;
}

/** One table, merged over all channels. Values are those of the last frame.
 *
 * `Entity` declares the fields: `tickwire codegen typescript` generates it from the room. */
export class TableView<Entity extends object = any> {
  private rows: Row[] = [];
  private rowsById = new Map<number, Row>();
  private isCurrent = false;
  private readonly columns: ReadonlyMap<string, { field: Field; index: number }>;
  private readonly groupsByName: ReadonlyMap<string, Group>;

  constructor(
    private readonly layout: TableLayout,
    private readonly world: World,
    private readonly index: number,
  ) {
    const columns = new Map<string, { field: Field; index: number }>();
    layout.columns.forEach((field, index) => columns.set(field.name, { field, index }));
    layout.texts.forEach((field, index) => columns.set(field.name, { field, index }));
    this.columns = columns;
    this.groupsByName = new Map(layout.groups.map((group) => [group.name, group]));
  }

  get name(): string {
    return this.layout.name;
  }

  get fields(): readonly Field[] {
    return this.layout.fields;
  }

  /** The vectors and quaternions. */
  get groups(): readonly Group[] {
    return this.layout.groups;
  }

  /** @internal */
  invalidate(): void {
    this.isCurrent = false;
  }

  get size(): number {
    return this.current().length;
  }

  /** Ascending. */
  get ids(): number[] {
    return this.current().map((row) => row.id);
  }

  has(id: number): boolean {
    this.current();
    return this.rowsById.has(id);
  }

  /** Returns a field of an entity, in the game's units: a text as a string, an enumeration as its index, a vector as
   * [x, y] or [x, y, z], a quaternion of length 1 as [x, y, z, w]. Undefined if the entity does not exist.
   *
   * @throws RangeError: the table has no such field. */
  value<Name extends keyof Entity & string>(id: number, field: Name): Entity[Name] | undefined {
    this.current();
    const row = this.rowsById.get(id);
    return row && (this.valueAt(row, field) as Entity[Name]);
  }

  /** Returns a numeric field of an entity; NaN if the entity does not exist. */
  number(id: number, field: keyof Entity & string): number {
    this.current();
    const row = this.rowsById.get(id);
    const column = this.column(field);
    return row ? column.field.value(row.table.column(column.index)[row.row]!) : NaN;
  }

  /** Returns a vector or a quaternion of an entity, in `into` if it is set; undefined if the entity does not exist. */
  vector(id: number, name: keyof Entity & string, into?: number[]): number[] | undefined {
    this.current();
    const row = this.rowsById.get(id);
    const group = this.group(name);
    return row && group.join((field) => this.numberAt(row, field), into);
  }

  /** Returns the label of an enumeration field; empty if the entity does not exist. */
  label(id: number, field: keyof Entity & string): string {
    return this.column(field).field.labels[this.number(id, field)] ?? "";
  }

  /** Returns an entity's fields by name, vectors and their parts, and quaternions; undefined if the entity does not exist. */
  get(id: number): Entity | undefined {
    this.current();
    const row = this.rowsById.get(id);
    if (!row) return undefined;
    const { fields, groups } = this.layout;
    const encoded = groups.filter((group) => group.isQuaternion).flatMap((group) => group.parts);
    const names = [...fields, ...groups].map(({ name }) => name).filter((name) => !encoded.includes(name));
    return Object.fromEntries(names.map((name) => [name, this.valueAt(row, name)])) as Entity;
  }

  /** Calls `visit` for each entity, in ascending order of ids, with functions that read its numbers and its vectors. */
  each(
    visit: (id: number, number: ReadNumber<keyof Entity & string>, vector: ReadVector<keyof Entity & string>) => void,
  ): void {
    for (const row of this.current()) {
      const number = (field: string) => this.numberAt(row, field);
      visit(row.id, number, (name, into) => this.group(name).join(number, into));
    }
  }

  /** Returns a field of all entities, in the order of `ids`. */
  numbers(field: keyof Entity & string, into: number[] = []): number[] {
    const { field: known, index } = this.column(field);
    into.length = 0;
    for (const row of this.current()) into.push(known.value(row.table.column(index)[row.row]!));
    return into;
  }

  /** @internal */
  addTo(crc: Crc32): void {
    const rows = this.current();
    for (const row of rows) crc.u32(row.id);
    this.layout.columns.forEach((_, index) => {
      for (const row of rows) crc.i64(row.table.column(index)[row.row]!);
    });
    this.layout.texts.forEach((_, index) => {
      for (const row of rows) {
        const text = row.table.text(index, row.row);
        crc.u32(text.length);
        crc.bytes(text);
      }
    });
  }

  private numberAt(row: Row, name: string): number {
    const { field, index } = this.column(name);
    return field.value(row.table.column(index)[row.row]!);
  }

  private group(name: string): Group {
    const group = this.groupsByName.get(name);
    if (!group) throw new RangeError(`the table ${this.layout.name} has no vector or quaternion ${name}`);
    return group;
  }

  private valueAt(row: Row, name: string): number | string | Uint8Array | number[] {
    const group = this.groupsByName.get(name);
    if (group) return group.join((field) => this.numberAt(row, field));
    const { field, index } = this.column(name);
    if (field.kind === "blob") return row.table.text(index, row.row);
    if (field.isText) return decodeText(row.table.text(index, row.row));
    return field.value(row.table.column(index)[row.row]!);
  }

  private column(name: string): { field: Field; index: number } {
    const column = this.columns.get(name);
    if (!column) throw new RangeError(`the table ${this.layout.name} has no field ${name}`);
    return column;
  }

  private current(): readonly Row[] {
    if (this.isCurrent) return this.rows;
    this.isCurrent = true;
    let count = 0;
    const tables = this.world.nonEmptyTables(this.index);
    this.rowsById.clear();
    for (const table of tables) {
      for (let at = 0; at < table.size; at++) {
        const id = table.ids[at]!;
        if (this.rowsById.has(id)) continue; // moves between two channels: use the first
        const row = (this.rows[count] ??= { id, table, row: at });
        row.id = id;
        row.table = table;
        row.row = at;
        this.rowsById.set(id, row);
        count++;
      }
    }
    this.rows.length = count;
    if (tables.length > 1) this.rows.sort((a, b) => a.id - b.id);
    return this.rows;
  }
}

function u32(bytes: Uint8Array): number {
  return (bytes[0]! | (bytes[1]! << 8) | (bytes[2]! << 16) | (bytes[3]! << 24)) >>> 0;
}

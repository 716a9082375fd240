/** The room's world as this client was told it: every channel's tables, and all of them together.
 *
 * Entities are read by table: `world.table("ships")`. */

import { BitReader } from "./bits.js";
import { Crc32 } from "./crc32.js";
import { MalformedMessage, TickwireError } from "./errors.js";
import { Field, type FieldDescription } from "./fields.js";
import { decodeText, Shape, TableState } from "./table.js";

export interface TableDescription {
  readonly name: string;
  readonly fields: readonly FieldDescription[];
}

/** What a room's state and its inputs are made of. */
export interface StateDescription {
  readonly tables: readonly TableDescription[];
  readonly inputs: readonly FieldDescription[];
}

/** What a frame says of one channel. */
export interface Part {
  channel: number;
  isKeyframe: boolean;
  hasChecksum: boolean;
  packed: Uint8Array;
}

/** A delta against something that this client does not have: a frame is missing. */
export class WrongBaseline extends TickwireError {}

interface Channel {
  toldTick: number;
  tables: TableState[];
}

const NEVER = -1;

export class World {
  /** Of the last frame: where the client stands in all channels. */
  tick = 0;
  readonly shapes: readonly Shape[];
  private readonly channels = new Map<number, Channel>();
  private readonly bits = new BitReader();
  private readonly tables: Map<string, TableView>;

  constructor(private readonly description: StateDescription) {
    this.shapes = description.tables.map(
      (table) => new Shape(table.name, table.fields.map((field) => new Field(field))),
    );
    this.tables = new Map(this.shapes.map((shape, place) => [shape.name, new TableView(shape, this, place)]));
  }

  /** Whether a state of this description fits this world. */
  fits(description: StateDescription): boolean {
    return JSON.stringify(description) === JSON.stringify(this.description);
  }

  /** Forgets everything, as if nothing had been received. Views of its tables stay valid. */
  clear(): void {
    this.finish(0, new Set());
  }

  get channelNumbers(): number[] {
    return [...this.channels.keys()];
  }

  /** A table by its name, all channels together. */
  table<Entity extends object = any>(name: string): TableView<Entity> {
    const table = this.tables.get(name) as TableView<Entity> | undefined;
    if (!table) throw new RangeError(`no table ${name}; this room has: ${[...this.tables.keys()].join(", ")}`);
    return table;
  }

  get tableNames(): string[] {
    return [...this.tables.keys()];
  }

  /** Applies what a frame says of one channel; says whether its checksum agrees, or it has none. `finish` follows when all
   * parts of the frame were.
   *
   * @throws WrongBaseline, MalformedMessage: nothing has changed then. */
  apply(part: Part, tick: number, age: number): boolean {
    let channel = this.channels.get(part.channel);
    if (!part.isKeyframe && this.tick !== tick - age) {
      throw new WrongBaseline(`a delta from tick ${tick - age}; the world stands at ${this.tick}`);
    }
    if (part.isKeyframe || !channel) {
      channel = { toldTick: NEVER, tables: this.shapes.map((shape) => new TableState(shape)) };
    } else if (channel.toldTick !== tick - 1) {
      for (const table of channel.tables) table.settle();
    }
    const agrees = this.read(part, channel.tables);
    for (const table of channel.tables) table.commit();
    channel.toldTick = tick;
    this.channels.set(part.channel, channel);
    return agrees;
  }

  private read(part: Part, tables: TableState[]): boolean {
    const { bits } = this;
    bits.open(part.packed);
    for (const table of tables) table.stage();
    let seen = 0;
    for (let tag = bits.varint(); tag; tag = bits.varint()) {
      const place = Math.floor(tag / 8);
      if (place <= seen || place > tables.length) throw new MalformedMessage(`a section for table ${place - 1}`);
      seen = place;
      tables[place - 1]!.read(bits, tag % 8);
    }
    const agrees = !part.hasChecksum || this.checksumOf(tables) === u32(bits.take(4));
    if (!bits.isAtEnd) throw new MalformedMessage("bytes are left over");
    return agrees;
  }

  private checksumOf(tables: readonly TableState[]): number {
    const crc = new Crc32();
    for (const table of tables) table.addTo(crc);
    return crc.value;
  }

  /** The world has come to a tick; `keep` are the only channels that are still there, null: all are. */
  finish(tick: number, keep: ReadonlySet<number> | null): void {
    this.tick = tick;
    if (keep) {
      for (const channel of [...this.channels.keys()]) if (!keep.has(channel)) this.channels.delete(channel);
    }
    for (const table of this.tables.values()) table.outdate();
  }

  /** The connection was resumed: every channel forgets where it came from, as the server does. */
  settle(): void {
    for (const channel of this.channels.values()) channel.toldTick = NEVER;
  }

  /** A channel's tables, in the description's order; undefined when nothing is known of it. */
  channel(number: number): readonly TableState[] | undefined {
    return this.channels.get(number)?.tables;
  }

  /** Those of one place in all channels that hold anybody. */
  held(place: number): TableState[] {
    const held: TableState[] = [];
    for (const channel of this.channels.values()) {
      const table = channel.tables[place]!;
      if (table.size) held.push(table);
    }
    return held;
  }

  /** Over all that is mirrored: equal worlds have equal ones, in whatever language they are mirrored. */
  checksum(): number {
    const crc = new Crc32();
    for (const table of this.tables.values()) table.addTo(crc);
    return crc.value;
  }
}

/** A reference to one entity of one state: where it is in its channel's arrays. */
interface Row {
  id: number;
  table: TableState;
  row: number;
}

/** One table, all channels together. Its rows are of the last frame; ask again after the next.
 *
 * `Entity` says what fields there are: `tickwire codegen typescript` writes it from the room. */
export class TableView<Entity extends object = any> {
  private rows: Row[] = [];
  private places = new Map<number, Row>();
  private isCurrent = false;
  private readonly columns: ReadonlyMap<string, { field: Field; place: number }>;

  constructor(
    private readonly shape: Shape,
    private readonly world: World,
    private readonly place: number,
  ) {
    const columns = new Map<string, { field: Field; place: number }>();
    shape.columns.forEach((field, place) => columns.set(field.name, { field, place }));
    shape.texts.forEach((field, place) => columns.set(field.name, { field, place }));
    this.columns = columns;
  }

  get name(): string {
    return this.shape.name;
  }

  get fields(): readonly Field[] {
    return this.shape.fields;
  }

  /** @internal */
  outdate(): void {
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
    return this.places.has(id);
  }

  /** One field of one entity, in the game's units; a text as a string, an enumeration as its place. Undefined when it is
   * not here. */
  value<Name extends keyof Entity & string>(id: number, field: Name): Entity[Name] | undefined {
    this.current();
    const row = this.places.get(id);
    return row && (this.valueOf(row, field) as Entity[Name]);
  }

  /** A number of an entity; NaN when it is not here. */
  number(id: number, field: keyof Entity & string): number {
    this.current();
    const row = this.places.get(id);
    const column = this.column(field);
    return row ? column.field.value(row.table.column(column.place)[row.row]!) : NaN;
  }

  /** The label of an enumeration's value. */
  label(id: number, field: keyof Entity & string): string {
    return this.column(field).field.labels[this.number(id, field)] ?? "";
  }

  /** One entity's fields by name. */
  get(id: number): Entity | undefined {
    this.current();
    const row = this.places.get(id);
    if (!row) return undefined;
    return Object.fromEntries(this.shape.fields.map((field) => [field.name, this.valueOf(row, field.name)])) as Entity;
  }

  /** Calls for each entity, in ascending order of ids, with a function that gives its numbers: no objects are made. */
  each(visit: (id: number, number: (field: keyof Entity & string) => number) => void): void {
    for (const row of this.current()) {
      visit(row.id, (field) => {
        const column = this.column(field);
        return column.field.value(row.table.column(column.place)[row.row]!);
      });
    }
  }

  /** A field of all entities, in the order of `ids`. */
  numbers(field: keyof Entity & string, into: number[] = []): number[] {
    const { field: known, place } = this.column(field);
    into.length = 0;
    for (const row of this.current()) into.push(known.value(row.table.column(place)[row.row]!));
    return into;
  }

  /** @internal */
  addTo(crc: Crc32): void {
    const rows = this.current();
    for (const row of rows) crc.u32(row.id);
    this.shape.columns.forEach((_, place) => {
      for (const row of rows) crc.i64(row.table.column(place)[row.row]!);
    });
    this.shape.texts.forEach((_, place) => {
      for (const row of rows) {
        const text = row.table.text(place, row.row);
        crc.u32(text.length);
        crc.bytes(text);
      }
    });
  }

  private valueOf(row: Row, name: string): number | string | Uint8Array {
    const { field, place } = this.column(name);
    if (field.kind === "blob") return row.table.text(place, row.row);
    if (field.isText) return decodeText(row.table.text(place, row.row));
    return field.value(row.table.column(place)[row.row]!);
  }

  private column(name: string): { field: Field; place: number } {
    const column = this.columns.get(name);
    if (!column) throw new RangeError(`no field ${name} in ${this.shape.name}`);
    return column;
  }

  private current(): readonly Row[] {
    if (this.isCurrent) return this.rows;
    this.isCurrent = true;
    let count = 0;
    const held = this.world.held(this.place);
    this.places.clear();
    for (const table of held) {
      for (let at = 0; at < table.size; at++) {
        const id = table.ids[at]!;
        if (this.places.has(id)) continue; // between two channels: the first is as good as the other
        const row = (this.rows[count] ??= { id, table, row: at });
        row.id = id;
        row.table = table;
        row.row = at;
        this.places.set(id, row);
        count++;
      }
    }
    this.rows.length = count;
    if (held.length > 1) this.rows.sort((a, b) => a.id - b.id);
    return this.rows;
  }
}

function u32(bytes: Uint8Array): number {
  return (bytes[0]! | (bytes[1]! << 8) | (bytes[2]! << 16) | (bytes[3]! << 24)) >>> 0;
}

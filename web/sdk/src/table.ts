/** One table of one channel: ids, integers and texts after the last state, and the integers of the state before.
 *
 * A section of a frame is read into a spare buffer; `commit` makes it current, and until then nothing changes. Buffers are
 * reused: a tick in which no entity enters or leaves allocates nothing. Layout: docs/protocol.md, "Packed". */

import { BitReader, Ints, Numbers, unzigzag, unzigzagBig } from "./bits.js";
import type { Crc32 } from "./crc32.js";
import { MalformedMessage } from "./errors.js";
import type { Field } from "./fields.js";
import { Group } from "./groups.js";
import type { GroupDescription } from "./types.js";

export const HAS_LEFT = 1;
export const HAS_ENTERED = 2;
export const HAS_TEXTS = 4;
const ENTITIES_MAX = 65536;
const LAST = 0;
const CHANGED = 2;
const RICE = 3;
const ESCAPE = 24;
const RAW_BITS = 60;
/** The widest code that JavaScript engines represent as a small integer, without allocating an object. */
const SMALL_BITS = 30;
const SMALL_K = 25; // a quotient below ESCAPE has five bits
const NO_BYTES = new Uint8Array(0);
const decoder = new TextDecoder("utf-8", { fatal: true });

/** The fields of a table, shared by all channels. */
export class TableLayout {
  readonly columns: readonly Field[];
  readonly texts: readonly Field[];
  readonly groups: readonly Group[];

  constructor(
    readonly name: string,
    readonly fields: readonly Field[],
    groups: readonly GroupDescription[] = [],
  ) {
    this.groups = groups.map((group) => new Group(group, fields));
    this.columns = fields.filter((field) => !field.isText);
    this.texts = fields.filter((field) => field.isText);
  }
}

// Scratch arrays for reading a frame. One thread reads one frame at a time.
const leftRows = new Numbers();
const enteredIds = new Numbers();
const quotients = new Ints();
const stayedLast = new Numbers();
const stayedBefore = new Numbers();
const stayedNow = new Numbers();

/** The contents of a table at one state. Only the first `size` items of the arrays are valid. */
class TableBuffer {
  size = 0;
  ids: Uint32Array;
  columns: Float64Array[];
  texts: Uint8Array[][];

  constructor(
    private readonly layout: TableLayout,
    capacity = 16,
  ) {
    this.ids = new Uint32Array(capacity);
    this.columns = layout.columns.map(() => new Float64Array(capacity));
    this.texts = layout.texts.map(() => []);
  }

  /** Sets the size and grows the arrays if needed. Old contents may be lost. */
  reserve(size: number): void {
    if (size > this.ids.length) {
      this.ids = new Uint32Array(2 * size);
      this.columns = this.layout.columns.map(() => new Float64Array(2 * size));
    }
    this.size = size;
  }
}

export class TableState {
  private now: TableBuffer;
  private before: TableBuffer;
  private spare: TableBuffer;
  /** The previous values of the entities in `spare`, if entities entered or left. */
  private origin: TableBuffer | null = null;
  private isStaged = false;

  constructor(readonly layout: TableLayout) {
    this.now = new TableBuffer(layout);
    this.before = new TableBuffer(layout);
    this.spare = new TableBuffer(layout);
  }

  get size(): number {
    return this.now.size;
  }

  /** Ascending; only the first `size` items are valid, as in columns. */
  get ids(): Uint32Array {
    return this.now.ids;
  }

  column(index: number): Float64Array {
    return this.now.columns[index]!;
  }

  text(index: number, row: number): Uint8Array {
    return this.now.texts[index]![row] ?? NO_BYTES;
  }

  /** Removes all entities: the baseline of a keyframe. */
  clear(): void {
    this.now.reserve(0);
    this.before.reserve(0);
    for (const texts of this.now.texts) texts.length = 0;
  }

  /** Sets the previous values to the current ones: nothing moved since. */
  clearHistory(): void {
    const { now, before } = this;
    before.reserve(now.size);
    for (let column = 0; column < now.columns.length; column++) {
      before.columns[column]!.set(now.columns[column]!.subarray(0, now.size));
    }
  }

  // -- reading a section ----------------------------------------------------------------------------------

  /** Reads a section into the spare buffer.
   *
   * @throws MalformedMessage: the section does not fit the current contents, or a value is out of its field's range. */
  read(bits: BitReader, flags: number): void {
    this.isStaged = true;
    this.origin = null;
    if (flags & (HAS_LEFT | HAS_ENTERED)) this.readMoved(bits, flags);
    else this.readSame(bits);
    const { spare, layout } = this;
    for (let column = 0; column < layout.columns.length; column++) {
      checkRange(layout.columns[column]!, spare.columns[column]!, spare.size);
    }
    if (flags & HAS_TEXTS) this.readTexts(bits);
  }

  /** Begins a frame. Without a section the table stays unchanged. */
  stage(): void {
    this.isStaged = false;
  }

  /** Makes the section that was read current. */
  commit(): void {
    if (!this.isStaged) {
      this.clearHistory();
      return;
    }
    const { now, before, spare, origin } = this;
    this.now = spare;
    this.before = origin ?? now;
    this.spare = origin ? now : before;
  }

  private readSame(bits: BitReader): void {
    const { now, before, spare, layout } = this;
    spare.reserve(now.size);
    spare.ids.set(now.ids.subarray(0, now.size));
    bits.toBits();
    if (now.size) {
      for (let column = 0; column < layout.columns.length; column++) {
        const field = layout.columns[column]!;
        readColumn(bits, field, now.size, now.columns[column]!, before.columns[column]!, spare.columns[column]!);
      }
    }
    bits.toBytes();
    for (let index = 0; index < now.texts.length; index++) spare.texts[index] = now.texts[index]!.slice();
  }

  private readMoved(bits: BitReader, flags: number): void {
    const { now, before, spare, layout } = this;
    const left = flags & HAS_LEFT ? bits.ascending(now.size, leftRows) : 0;
    const entered = flags & HAS_ENTERED ? bits.ascending(2 ** 32, enteredIds) : 0;
    const stayed = now.size - left;
    if (entered && enteredIds.values[0] === 0) throw new MalformedMessage("an entity has the id 0, which is reserved");
    if (stayed + entered > ENTITIES_MAX) throw new MalformedMessage("too many entities in one channel");
    const rows = this.merge(left, entered);
    bits.toBits();
    const fresh = readFresh(bits, layout.columns, entered);
    spare.reserve(stayed + entered);
    const origin = new TableBuffer(layout, spare.ids.length);
    origin.size = spare.size;
    const kept = rows.from;
    for (let column = 0; column < layout.columns.length; column++) {
      const last = stayedLast.reserve(stayed);
      const older = stayedBefore.reserve(stayed);
      const result = stayedNow.reserve(stayed);
      for (let row = 0; row < stayed; row++) {
        last[row] = now.columns[column]![kept[row]!]!;
        older[row] = before.columns[column]![kept[row]!]!;
      }
      if (stayed) readColumn(bits, layout.columns[column]!, stayed, last, older, result);
      const [values, changes] = fresh[column] ?? [NOTHING, NOTHING];
      for (let row = 0; row < spare.size; row++) {
        const source = rows.order[row]!;
        const isNew = source < 0;
        spare.columns[column]![row] = isNew ? values[-source - 1]! : result[source]!;
        origin.columns[column]![row] = isNew ? changes[-source - 1]! : last[source]!;
      }
    }
    bits.toBytes();
    for (let row = 0; row < spare.size; row++) {
      const source = rows.order[row]!;
      spare.ids[row] = source < 0 ? enteredIds.values[-source - 1]! : now.ids[kept[source]!]!;
    }
    for (let index = 0; index < now.texts.length; index++) {
      const texts = now.texts[index]!;
      spare.texts[index] = Array.from(rows.order, (source) => (source < 0 ? NO_BYTES : texts[kept[source]!]!));
    }
    this.origin = origin;
  }

  /** Returns the source of each row: the index n among the entities that stayed, or -1 - n among those that entered. */
  private merge(left: number, entered: number): { from: Int32Array; order: Int32Array } {
    const { now } = this;
    const from = new Int32Array(now.size - left);
    let gone = 0;
    let kept = 0;
    for (let row = 0; row < now.size; row++) {
      if (gone < left && leftRows.values[gone] === row) gone++;
      else from[kept++] = row;
    }
    const order = new Int32Array(kept + entered);
    let stayed = 0;
    let fresh = 0;
    for (let row = 0; row < order.length; row++) {
      const here = stayed < kept ? now.ids[from[stayed]!]! : Infinity;
      const there = fresh < entered ? enteredIds.values[fresh]! : Infinity;
      if (here === there) throw new MalformedMessage("an entity entered that already exists");
      order[row] = here < there ? stayed++ : -1 - fresh++;
    }
    return { from, order };
  }

  private readTexts(bits: BitReader): void {
    const { spare, layout } = this;
    const count = bits.varint();
    const fields = layout.texts;
    let index = 0;
    for (let number = 0; number < count; number++) {
      const step = bits.varint();
      if (number && !step) throw new MalformedMessage("a list contains an index twice");
      index += step;
      if (index >= spare.size * fields.length) throw new MalformedMessage(`the text index ${index} is out of range`);
      const field = fields[index % fields.length]!;
      const length = bits.varint();
      if (length > field.bytesMax) throw new MalformedMessage(`field ${field.name} has ${length} bytes; at most ${field.bytesMax} are allowed`);
      const text = bits.bytes(length);
      if (field.kind === "text") decodeText(text);
      spare.texts[index % fields.length]![Math.floor(index / fields.length)] = text;
    }
  }

  /** Adds the staged contents to a checksum. */
  addTo(crc: Crc32): void {
    const buffer = this.isStaged ? this.spare : this.now;
    for (let row = 0; row < buffer.size; row++) crc.u32(buffer.ids[row]!);
    for (const column of buffer.columns) {
      for (let row = 0; row < buffer.size; row++) crc.i64(column[row]!);
    }
    for (const texts of buffer.texts) {
      for (let row = 0; row < buffer.size; row++) {
        const text = texts[row] ?? NO_BYTES;
        crc.u32(text.length);
        crc.bytes(text);
      }
    }
  }
}

const NOTHING = new Float64Array(0);

export function decodeText(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new MalformedMessage("a text is not UTF-8");
  }
}

/** Reads the values and previous values of the entities that entered, by column. */
function readFresh(bits: BitReader, fields: readonly Field[], entered: number): [Float64Array, Float64Array][] {
  if (!entered) return [];
  const values = fields.map((field) => readPlain(bits, field, entered));
  const changes = fields.map((field) => readPlain(bits, field, entered));
  return values.map((now, column) => {
    const change = changes[column]!;
    return [now as Float64Array, change.map((by, row) => now[row]! - by) as Float64Array];
  });
}

function readPlain(bits: BitReader, field: Field, count: number): Float64Array {
  bits.need(6);
  const width = bits.small(6);
  bits.need(count * width);
  const numbers = new Float64Array(count);
  for (let row = 0; row < count; row++) {
    numbers[row] = field.isWide ? Number(unzigzagBig(bits.big(width))) : unzigzag(bits.number(width));
  }
  return numbers;
}

/** Reads a column of the entities that stayed. */
function readColumn(
  bits: BitReader,
  field: Field,
  count: number,
  last: Float64Array,
  before: Float64Array,
  into: Float64Array,
): void {
  bits.need(1);
  if (!bits.small(1)) {
    for (let row = 0; row < count; row++) into[row] = last[row]!;
    return;
  }
  bits.need(8);
  const predictor = bits.small(2);
  const parameter = bits.small(6);
  if (field.isWide) readWide(bits, predictor, parameter, count, last, before, into);
  else if (predictor === RICE) readRice(bits, parameter, count, last, before, into);
  else if (predictor === CHANGED) readChanged(bits, parameter, count, last, into);
  else readFixed(bits, predictor, parameter, count, last, before, into);
  if (field.modulus) wrap(into, count, field.modulus);
}

function readFixed(
  bits: BitReader,
  predictor: number,
  width: number,
  count: number,
  last: Float64Array,
  before: Float64Array,
  into: Float64Array,
): void {
  checkWidth(width);
  bits.need(count * width);
  if (width <= SMALL_BITS) {
    const isLine = predictor !== LAST;
    for (let row = 0; row < count; row++) {
      const code = bits.small(width);
      const base = isLine ? 2 * last[row]! - before[row]! : last[row]!;
      into[row] = base + ((code >>> 1) ^ -(code & 1));
    }
  } else if (predictor === LAST) {
    for (let row = 0; row < count; row++) into[row] = last[row]! + unzigzag(bits.number(width));
  } else {
    for (let row = 0; row < count; row++) into[row] = 2 * last[row]! - before[row]! + unzigzag(bits.number(width));
  }
}

function readChanged(bits: BitReader, width: number, count: number, last: Float64Array, into: Float64Array): void {
  checkWidth(width);
  bits.need(count);
  const isSet = quotients.reserve(count);
  let changed = 0;
  for (let row = 0; row < count; row++) changed += isSet[row] = bits.small(1);
  bits.need(changed * width);
  for (let row = 0; row < count; row++) {
    if (!isSet[row]) into[row] = last[row]!;
    else if (width <= SMALL_BITS) {
      const code = bits.small(width);
      into[row] = last[row]! + ((code >>> 1) ^ -(code & 1));
    } else into[row] = last[row]! + unzigzag(bits.number(width));
  }
}

function readRice(
  bits: BitReader,
  k: number,
  count: number,
  last: Float64Array,
  before: Float64Array,
  into: Float64Array,
): void {
  checkWidth(k);
  const many = quotients.reserve(count);
  for (let row = 0; row < count; row++) many[row] = bits.unary(ESCAPE);
  const factor = 2 ** k;
  for (let row = 0; row < count; row++) {
    const isRaw = many[row] === ESCAPE;
    bits.need(isRaw ? RAW_BITS : k);
    if (!isRaw && k <= SMALL_K) {
      const small = (many[row]! << k) | bits.small(k);
      into[row] = 2 * last[row]! - before[row]! + ((small >>> 1) ^ -(small & 1));
      continue;
    }
    const code = isRaw ? Number(bits.big(RAW_BITS)) : many[row]! * factor + bits.number(k);
    into[row] = 2 * last[row]! - before[row]! + unzigzag(code);
  }
}

/** Reads a column of integers of more than 32 bits, whose differences exceed the exact range of a double. */
function readWide(
  bits: BitReader,
  predictor: number,
  parameter: number,
  count: number,
  last: Float64Array,
  before: Float64Array,
  into: Float64Array,
): void {
  const codes: bigint[] = [];
  if (predictor === RICE) {
    const many = Array.from({ length: count }, () => bits.unary(ESCAPE));
    for (const quotient of many) {
      bits.need(quotient === ESCAPE ? RAW_BITS : parameter);
      codes.push(
        quotient === ESCAPE ? bits.big(RAW_BITS) : (BigInt(quotient) << BigInt(parameter)) | bits.big(parameter),
      );
    }
  } else if (predictor === CHANGED) {
    bits.need(count);
    const isSet = Array.from({ length: count }, () => bits.small(1));
    bits.need(isSet.reduce((sum, one) => sum + one, 0) * parameter);
    for (const one of isSet) codes.push(one ? bits.big(parameter) : 0n);
  } else {
    bits.need(count * parameter);
    for (let row = 0; row < count; row++) codes.push(bits.big(parameter));
  }
  const isLine = predictor === RICE || predictor === 1;
  for (let row = 0; row < count; row++) {
    const here = BigInt(last[row]!);
    const base = isLine ? 2n * here - BigInt(before[row]!) : here;
    into[row] = Number(base + unzigzagBig(codes[row]!));
  }
}

function wrap(values: Float64Array, count: number, modulus: number): void {
  for (let row = 0; row < count; row++) {
    const value = values[row]!;
    if (value < 0 || value >= modulus) values[row] = ((value % modulus) + modulus) % modulus;
  }
}

function checkRange(field: Field, values: Float64Array, count: number): void {
  for (let row = 0; row < count; row++) {
    if (values[row]! < field.least || values[row]! > field.greatest) {
      throw new MalformedMessage(`a value of ${field.name} is out of its range`);
    }
  }
}

function checkWidth(width: number): void {
  if (width > 53) throw new MalformedMessage("a number is too wide");
}

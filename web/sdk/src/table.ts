/** One table of one channel, as it was last told: ids, integers and texts, and the integers one state before.
 *
 * A section of a frame is read into spare arrays, and taken by `commit`; until then nothing has changed. Arrays are kept
 * and used again, so that a tick in which nobody comes or goes allocates nothing. Layout: docs/protocol.md, "Packed". */

import { BitReader, Ints, Numbers, unzigzag, unzigzagBig } from "./bits.js";
import type { Crc32 } from "./crc32.js";
import { MalformedMessage } from "./errors.js";
import type { Field } from "./fields.js";

export const HAS_LEFT = 1;
export const HAS_ENTERED = 2;
export const HAS_TEXTS = 4;
const ENTITIES_MAX = 65536;
const LAST = 0;
const CHANGED = 2;
const RICE = 3;
const ESCAPE = 24;
const RAW_BITS = 60;
/** Codes of so many bits are whole numbers to a JavaScript engine, which makes no objects of them. */
const SMALL_BITS = 30;
const SMALL_K = 25; // a quotient below ESCAPE has five bits
const NO_BYTES = new Uint8Array(0);
const decoder = new TextDecoder("utf-8", { fatal: true });

/** What all channels' tables of one kind share. */
export class Shape {
  readonly columns: readonly Field[];
  readonly texts: readonly Field[];

  constructor(
    readonly name: string,
    readonly fields: readonly Field[],
  ) {
    this.columns = fields.filter((field) => !field.isText);
    this.texts = fields.filter((field) => field.isText);
  }
}

// What one frame needs while it is read; one thread reads one frame at a time.
const leftPlaces = new Numbers();
const enteredIds = new Numbers();
const quotients = new Ints();
const stayedLast = new Numbers();
const stayedBefore = new Numbers();
const stayedNow = new Numbers();

/** What a table holds at one moment. Arrays are longer than what is in them. */
class Side {
  size = 0;
  ids: Uint32Array;
  columns: Float64Array[];
  texts: Uint8Array[][];

  constructor(
    private readonly shape: Shape,
    capacity = 16,
  ) {
    this.ids = new Uint32Array(capacity);
    this.columns = shape.columns.map(() => new Float64Array(capacity));
    this.texts = shape.texts.map(() => []);
  }

  /** Room for so many; what was in it may be gone. */
  room(size: number): void {
    if (size > this.ids.length) {
      this.ids = new Uint32Array(2 * size);
      this.columns = this.shape.columns.map(() => new Float64Array(2 * size));
    }
    this.size = size;
  }
}

export class TableState {
  private now: Side;
  private before: Side;
  private spare: Side;
  /** Where those who stayed and entered were a state before, when somebody has moved. */
  private origin: Side | null = null;
  private isStaged = false;

  constructor(readonly shape: Shape) {
    this.now = new Side(shape);
    this.before = new Side(shape);
    this.spare = new Side(shape);
  }

  get size(): number {
    return this.now.size;
  }

  /** Ascending; the first `size` of them count. So too for columns. */
  get ids(): Uint32Array {
    return this.now.ids;
  }

  column(place: number): Float64Array {
    return this.now.columns[place]!;
  }

  text(place: number, row: number): Uint8Array {
    return this.now.texts[place]![row] ?? NO_BYTES;
  }

  /** Nobody is in it; what a keyframe is relative to. */
  clear(): void {
    this.now.room(0);
    this.before.room(0);
    for (const texts of this.now.texts) texts.length = 0;
  }

  /** It has come to rest: what it had before counts no more. */
  settle(): void {
    const { now, before } = this;
    before.room(now.size);
    for (let column = 0; column < now.columns.length; column++) {
      before.columns[column]!.set(now.columns[column]!.subarray(0, now.size));
    }
  }

  // -- reading a section ----------------------------------------------------------------------------------

  /** Reads a section into the spare side.
   *
   * @throws MalformedMessage: it does not fit what is here, or a value is out of its field's range. */
  read(bits: BitReader, flags: number): void {
    this.isStaged = true;
    this.origin = null;
    if (flags & (HAS_LEFT | HAS_ENTERED)) this.readMoved(bits, flags);
    else this.readSame(bits);
    const { spare, shape } = this;
    for (let column = 0; column < shape.columns.length; column++) {
      checkRange(shape.columns[column]!, spare.columns[column]!, spare.size);
    }
    if (flags & HAS_TEXTS) this.readTexts(bits);
  }

  /** Nothing was said of it: it stays as it is. */
  stage(): void {
    this.isStaged = false;
  }

  /** What was read is what is here from now on. */
  commit(): void {
    if (!this.isStaged) {
      this.settle();
      return;
    }
    const { now, before, spare, origin } = this;
    this.now = spare;
    this.before = origin ?? now;
    this.spare = origin ? now : before;
  }

  private readSame(bits: BitReader): void {
    const { now, before, spare, shape } = this;
    spare.room(now.size);
    spare.ids.set(now.ids.subarray(0, now.size));
    bits.toBits();
    if (now.size) {
      for (let column = 0; column < shape.columns.length; column++) {
        const field = shape.columns[column]!;
        readColumn(bits, field, now.size, now.columns[column]!, before.columns[column]!, spare.columns[column]!);
      }
    }
    bits.toBytes();
    for (let place = 0; place < now.texts.length; place++) spare.texts[place] = now.texts[place]!.slice();
  }

  private readMoved(bits: BitReader, flags: number): void {
    const { now, before, spare, shape } = this;
    const left = flags & HAS_LEFT ? bits.ascending(now.size, leftPlaces) : 0;
    const entered = flags & HAS_ENTERED ? bits.ascending(2 ** 32, enteredIds) : 0;
    const stayed = now.size - left;
    if (entered && enteredIds.values[0] === 0) throw new MalformedMessage("entity 0 is nobody");
    if (stayed + entered > ENTITIES_MAX) throw new MalformedMessage("too many entities in one channel");
    const rows = this.merge(left, entered);
    bits.toBits();
    const fresh = readFresh(bits, shape.columns, entered);
    spare.room(stayed + entered);
    const origin = new Side(shape, spare.ids.length);
    origin.size = spare.size;
    const kept = rows.from;
    for (let column = 0; column < shape.columns.length; column++) {
      const last = stayedLast.room(stayed);
      const older = stayedBefore.room(stayed);
      const result = stayedNow.room(stayed);
      for (let row = 0; row < stayed; row++) {
        last[row] = now.columns[column]![kept[row]!]!;
        older[row] = before.columns[column]![kept[row]!]!;
      }
      if (stayed) readColumn(bits, shape.columns[column]!, stayed, last, older, result);
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
    for (let place = 0; place < now.texts.length; place++) {
      const texts = now.texts[place]!;
      spare.texts[place] = Array.from(rows.order, (source) => (source < 0 ? NO_BYTES : texts[kept[source]!]!));
    }
    this.origin = origin;
  }

  /** Where each row comes from: of those who stayed, their number; of those who entered, -1 less theirs. */
  private merge(left: number, entered: number): { from: Int32Array; order: Int32Array } {
    const { now } = this;
    const from = new Int32Array(now.size - left);
    let gone = 0;
    let kept = 0;
    for (let row = 0; row < now.size; row++) {
      if (gone < left && leftPlaces.values[gone] === row) gone++;
      else from[kept++] = row;
    }
    const order = new Int32Array(kept + entered);
    let stayed = 0;
    let fresh = 0;
    for (let row = 0; row < order.length; row++) {
      const here = stayed < kept ? now.ids[from[stayed]!]! : Infinity;
      const there = fresh < entered ? enteredIds.values[fresh]! : Infinity;
      if (here === there) throw new MalformedMessage("an entity entered that is there already");
      order[row] = here < there ? stayed++ : -1 - fresh++;
    }
    return { from, order };
  }

  private readTexts(bits: BitReader): void {
    const { spare, shape } = this;
    const count = bits.varint();
    const fields = shape.texts;
    let place = 0;
    for (let number = 0; number < count; number++) {
      const step = bits.varint();
      if (number && !step) throw new MalformedMessage("a list names something twice");
      place += step;
      if (place >= spare.size * fields.length) throw new MalformedMessage(`a text for place ${place}`);
      const field = fields[place % fields.length]!;
      const length = bits.varint();
      if (length > field.bytesMax) throw new MalformedMessage(`field ${field.name} of ${length} bytes`);
      const text = bits.take(length);
      if (field.kind === "text") decodeText(text);
      spare.texts[place % fields.length]![Math.floor(place / fields.length)] = text;
    }
  }

  /** Adds what is staged to a checksum. */
  addTo(crc: Crc32): void {
    const side = this.isStaged ? this.spare : this.now;
    for (let row = 0; row < side.size; row++) crc.u32(side.ids[row]!);
    for (const column of side.columns) {
      for (let row = 0; row < side.size; row++) crc.i64(column[row]!);
    }
    for (const texts of side.texts) {
      for (let row = 0; row < side.size; row++) {
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

/** For each column, the values of those who entered, and what they were a tick before. */
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

/** A column of those who stayed. */
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
  const isSet = quotients.room(count);
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
  const many = quotients.room(count);
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

/** The same for integers of more than 32 bits, whose differences a double does not hold. */
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

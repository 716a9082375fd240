/** Writes a ClientMessage as FlatBuffers. The messages of a client are one table of numbers, texts and bytes, so this is much smaller
 * than the Builder of the flatbuffers runtime. https://flatbuffers.dev/internals
 *
 *     u32 root │ vtable and table of ClientMessage │ vtable of the body │ body: its fields, largest first │ texts and bytes
 *
 * Offsets are relative to their own place. Every number is aligned to its size; a field with the default value is not written. */

/** A field: a number of 1, 2, 4 or 8 bytes, or the bytes of a text (which end with a zero) or of a vector. */
export interface WireField {
  readonly size: 1 | 2 | 4 | 8;
  readonly value: number | bigint | Uint8Array;
  readonly isText?: boolean;
}

const BODY_VTABLE = 24;
/** vtable (size, table size, type at 8, body at 4), then the table: its vtable is 8 bytes before, and its body follows. */
const ROOT = [8, 12, 8, 4];

/** @param type: the tag of the message in the union ClientBody.
 * @param fields: all fields of the table, in the order of the schema. */
export function encodeClientMessage(type: number, ...fields: readonly WireField[]): Uint8Array {
  const table = align(BODY_VTABLE + 4 + 2 * fields.length + 4, 8) - 4; // its first field is then aligned to 8
  const places: number[] = [];
  let end = table + 4;
  for (const size of [8, 4, 2, 1]) {
    fields.forEach((field, slot) => {
      if (field.size !== size || isDefault(field)) return;
      places[slot] = end;
      end += size;
    });
  }
  const tableEnd = end;
  const vectors = fields.map(({ value, isText }, slot) => {
    if (places[slot] === undefined || !(value instanceof Uint8Array)) return 0;
    const at = align(end, 4);
    end = at + 4 + value.length + (isText ? 1 : 0);
    return at;
  });
  const view = new DataView(new ArrayBuffer(align(end, 4)));
  const bytes = new Uint8Array(view.buffer);
  view.setUint32(0, 12, true);
  ROOT.forEach((value, index) => view.setUint16(4 + 2 * index, value, true));
  view.setUint32(12, 8, true);
  view.setUint32(16, table - 16, true);
  bytes[20] = type;
  view.setUint16(BODY_VTABLE, 4 + 2 * fields.length, true);
  view.setUint16(BODY_VTABLE + 2, tableEnd - table, true);
  view.setInt32(table, table - BODY_VTABLE, true);
  fields.forEach(({ size, value }, slot) => {
    const at = places[slot];
    if (at === undefined) return;
    view.setUint16(BODY_VTABLE + 4 + 2 * slot, at - table, true);
    if (value instanceof Uint8Array) {
      const vector = vectors[slot]!;
      view.setUint32(at, vector - at, true);
      view.setUint32(vector, value.length, true);
      bytes.set(value, vector + 4);
    } else if (size === 8) view.setBigUint64(at, BigInt(value), true);
    else if (size === 4) view.setUint32(at, Number(value), true);
    else if (size === 2) view.setUint16(at, Number(value), true);
    else bytes[at] = Number(value);
  });
  return bytes;
}

function isDefault({ value }: WireField): boolean {
  return value instanceof Uint8Array ? !value.length : !value;
}

function align(at: number, size: number): number {
  return Math.ceil(at / size) * size;
}

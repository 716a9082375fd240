/** MessagePack for commands, events and options: null, booleans, numbers, strings, bytes, dates, arrays, and maps with
 * strings as keys. https://github.com/msgpack/msgpack/blob/master/spec.md */

import { MalformedMessage } from "./errors.js";

export type Plain = null | boolean | number | bigint | string | Uint8Array | Date | Plain[] | { [key: string]: Plain };

const DEPTH_MAX = 64;
/** The extension type of a timestamp: -1, as an unsigned byte. */
const TIMESTAMP = 0xff;
const encoder = new TextEncoder();
/** Refuses bytes that are not UTF-8, as the other clients do, and keeps a byte order mark. */
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function encode(value: unknown): Uint8Array {
  const out = new Writer();
  out.value(value, 0);
  return out.bytes();
}

export function decode(bytes: Uint8Array): Plain {
  if (!bytes.length) return null;
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (!reader.isAtEnd) throw new MalformedMessage("bytes are left over after a msgpack value");
  return value;
}

class Writer {
  private data = new Uint8Array(256);
  private view = new DataView(this.data.buffer);
  private at = 0;

  bytes(): Uint8Array {
    return this.data.slice(0, this.at);
  }

  value(value: unknown, depth: number): void {
    if (depth > DEPTH_MAX) throw new RangeError("a value is nested too deeply");
    if (value === null || value === undefined) this.u8(0xc0);
    else if (typeof value === "boolean") this.u8(value ? 0xc3 : 0xc2);
    else if (typeof value === "number") this.number(value);
    else if (typeof value === "bigint") this.big(value);
    else if (typeof value === "string") this.text(value);
    else if (value instanceof Uint8Array) this.binary(value);
    else if (Array.isArray(value)) this.array(value, depth);
    else if (value instanceof Date) this.date(value);
    else if (isMap(value)) this.map(value as Record<string, unknown>, depth);
    else throw new TypeError(`msgpack cannot encode a ${Object.prototype.toString.call(value).slice(8, -1)}`);
  }

  private number(value: number): void {
    if (!Number.isSafeInteger(value)) {
      this.reserve(9);
      this.data[this.at] = 0xcb;
      this.view.setFloat64(this.at + 1, value);
      this.at += 9;
    } else if (value >= 0) this.unsigned(value);
    else this.signed(value);
  }

  private unsigned(value: number): void {
    if (value < 0x80) this.u8(value);
    else if (value < 0x100) this.tagged(0xcc, 1, value);
    else if (value < 0x10000) this.tagged(0xcd, 2, value);
    else if (value < 2 ** 32) this.tagged(0xce, 4, value);
    else this.big(BigInt(value));
  }

  private signed(value: number): void {
    if (value >= -32) this.u8(value & 0xff);
    else if (value >= -0x80) this.tagged(0xd0, 1, value & 0xff);
    else if (value >= -0x8000) this.tagged(0xd1, 2, value & 0xffff);
    else if (value >= -(2 ** 31)) this.tagged(0xd2, 4, value >>> 0);
    else this.big(BigInt(value));
  }

  private big(value: bigint): void {
    this.reserve(9);
    this.data[this.at] = value < 0n ? 0xd3 : 0xcf;
    if (value < 0n) this.view.setBigInt64(this.at + 1, value);
    else this.view.setBigUint64(this.at + 1, value);
    this.at += 9;
  }

  private text(value: string): void {
    const bytes = encoder.encode(value);
    if (bytes.length < 32) this.u8(0xa0 | bytes.length);
    else this.sized(bytes.length, 0xd9, 0xda, 0xdb);
    this.raw(bytes);
  }

  private binary(value: Uint8Array): void {
    this.sized(value.length, 0xc4, 0xc5, 0xc6);
    this.raw(value);
  }

  /** Writes a timestamp of 96 bits, which represents every date. */
  private date(value: Date): void {
    const ms = value.getTime();
    if (Number.isNaN(ms)) throw new RangeError("an invalid date");
    const seconds = Math.floor(ms / 1000);
    this.tagged(0xc7, 1, 12);
    this.u8(TIMESTAMP);
    this.reserve(12);
    this.view.setUint32(this.at, (ms - seconds * 1000) * 1e6);
    this.view.setBigInt64(this.at + 4, BigInt(seconds));
    this.at += 12;
  }

  private array(value: readonly unknown[], depth: number): void {
    if (value.length < 16) this.u8(0x90 | value.length);
    else this.sized(value.length, 0, 0xdc, 0xdd);
    for (const item of value) this.value(item, depth + 1);
  }

  private map(value: Record<string, unknown>, depth: number): void {
    const keys = Object.keys(value).filter((key) => value[key] !== undefined); // as in JSON: an undefined argument is missing
    if (keys.length < 16) this.u8(0x80 | keys.length);
    else this.sized(keys.length, 0, 0xde, 0xdf);
    for (const key of keys) {
      this.text(key);
      this.value(value[key], depth + 1);
    }
  }

  private sized(size: number, one: number, two: number, four: number): void {
    if (one && size < 0x100) this.tagged(one, 1, size);
    else if (size < 0x10000) this.tagged(two, 2, size);
    else this.tagged(four, 4, size);
  }

  private tagged(tag: number, octets: number, value: number): void {
    this.reserve(5);
    this.data[this.at++] = tag;
    for (let shift = 8 * (octets - 1); shift >= 0; shift -= 8) this.data[this.at++] = (value >>> shift) & 0xff;
  }

  private u8(value: number): void {
    this.reserve(1);
    this.data[this.at++] = value;
  }

  private raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.data.set(bytes, this.at);
    this.at += bytes.length;
  }

  private reserve(count: number): void {
    if (this.at + count <= this.data.length) return;
    const data = new Uint8Array(2 * (this.at + count));
    data.set(this.data.subarray(0, this.at));
    this.data = data;
    this.view = new DataView(data.buffer);
  }
}

class Reader {
  private readonly view: DataView;
  private at = 0;

  constructor(private readonly data: Uint8Array) {
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  get isAtEnd(): boolean {
    return this.at === this.data.length;
  }

  value(depth: number): Plain {
    if (depth > DEPTH_MAX) throw new MalformedMessage("a value is nested too deeply");
    const tag = this.unsigned(1);
    if (tag < 0x80) return tag;
    if (tag < 0x90) return this.map(tag & 0x0f, depth);
    if (tag < 0xa0) return this.array(tag & 0x0f, depth);
    if (tag < 0xc0) return this.text(tag & 0x1f);
    if (tag >= 0xe0) return tag - 0x100;
    return this.tagged(tag, depth);
  }

  private tagged(tag: number, depth: number): Plain {
    switch (tag) {
      case 0xc0:
        return null;
      case 0xc2:
      case 0xc3:
        return tag === 0xc3;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.read(this.unsigned(1 << (tag - 0xc4))).slice();
      case 0xc7:
        return this.timestamp(this.unsigned(1));
      case 0xd6:
      case 0xd7:
        return this.timestamp(tag === 0xd6 ? 4 : 8);
      case 0xca:
        return this.view.getFloat32(this.skip(4));
      case 0xcb:
        return this.view.getFloat64(this.skip(8));
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.unsigned(1 << (tag - 0xcc));
      case 0xcf:
        return narrow(this.view.getBigUint64(this.skip(8)));
      case 0xd0:
        return this.view.getInt8(this.skip(1));
      case 0xd1:
        return this.view.getInt16(this.skip(2));
      case 0xd2:
        return this.view.getInt32(this.skip(4));
      case 0xd3:
        return narrow(this.view.getBigInt64(this.skip(8)));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.text(this.unsigned(1 << (tag - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.array(this.unsigned(2 << (tag - 0xdc)), depth);
      case 0xde:
      case 0xdf:
        return this.map(this.unsigned(2 << (tag - 0xde)), depth);
      default:
        throw new MalformedMessage(`unsupported msgpack type ${tag}`);
    }
  }

  /** Reads a date, truncated to milliseconds. */
  private timestamp(size: number): Date {
    if (this.unsigned(1) !== TIMESTAMP) throw new MalformedMessage("an extension of msgpack that is not a timestamp");
    let [nanoseconds, seconds] = [0, 0];
    if (size === 4) seconds = this.unsigned(4);
    else if (size === 8) {
      // 30 bits of nanoseconds, then 34 bits of seconds
      const high = this.unsigned(4);
      nanoseconds = high >>> 2;
      seconds = (high & 3) * 2 ** 32 + this.unsigned(4);
    } else if (size === 12) {
      nanoseconds = this.unsigned(4);
      seconds = Number(this.view.getBigInt64(this.skip(8)));
    } else throw new MalformedMessage(`a timestamp of ${size} bytes`);
    const date = new Date(seconds * 1000 + Math.floor(nanoseconds / 1e6));
    if (Number.isNaN(date.getTime())) throw new MalformedMessage("a timestamp beyond all dates");
    return date;
  }

  private array(count: number, depth: number): Plain[] {
    if (count > this.data.length - this.at) throw new MalformedMessage("an array is longer than the message");
    return Array.from({ length: count }, () => this.value(depth + 1));
  }

  private map(count: number, depth: number): { [key: string]: Plain } {
    if (count > this.data.length - this.at) throw new MalformedMessage("a map is longer than the message");
    const entries: [string, Plain][] = [];
    for (let index = 0; index < count; index++) entries.push([String(this.value(depth + 1)), this.value(depth + 1)]);
    return Object.fromEntries(entries);
  }

  private text(length: number): string {
    const bytes = this.read(length);
    try {
      return decoder.decode(bytes);
    } catch {
      throw new MalformedMessage("a text that is not UTF-8");
    }
  }

  private unsigned(octets: number): number {
    let value = 0;
    for (const byte of this.read(octets)) value = value * 256 + byte;
    return value;
  }

  private read(count: number): Uint8Array {
    const at = this.skip(count);
    return this.data.subarray(at, at + count);
  }

  private skip(count: number): number {
    if (this.at + count > this.data.length) throw new MalformedMessage("a msgpack value ends too early");
    this.at += count;
    return this.at - count;
  }
}

function isMap(value: unknown): boolean {
  return typeof value === "object" && !(Symbol.iterator in value!) && !ArrayBuffer.isView(value) && !(value instanceof ArrayBuffer);
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

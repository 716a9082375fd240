/** Reads the packed part of a state frame: LEB128 numbers and bytes, and numbers of any width, lowest bit first.
 *
 * Invalid data raises MalformedMessage. Layout: docs/protocol.md, "Packed". */

import { MalformedMessage } from "./errors.js";

const PADDING = 8;

/** A reader that is reused for all frames. It copies each frame into its own buffer, which is padded with zeros, so that
 * numbers can be loaded without a bounds check. */
export class BitReader {
  /** The position of the next byte. In bit mode `bit` is the position; `toBytes` returns to bytes. */
  at = 0;
  private bit = 0;
  private size = 0;
  private data = new Uint8Array(4096);

  /** Starts to read these bytes. */
  open(bytes: Uint8Array): void {
    if (bytes.length + PADDING > this.data.length) {
      this.data = new Uint8Array(2 * bytes.length + PADDING);
    }
    this.data.set(bytes);
    this.data.fill(0, bytes.length, bytes.length + PADDING);
    this.size = bytes.length;
    this.at = 0;
  }

  get isAtEnd(): boolean {
    return this.at === this.size;
  }

  // -- bytes ----------------------------------------------------------------------------------------------

  byte(): number {
    if (this.at >= this.size) throw truncated();
    return this.data[this.at++]!;
  }

  /** Reads a LEB128 number of at most 35 bits. */
  varint(): number {
    let value = 0;
    for (let factor = 1; factor < 2 ** 35; factor *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
    throw new MalformedMessage("a varint is longer than 35 bits");
  }

  /** Reads the next bytes, as a copy. */
  bytes(count: number): Uint8Array {
    if (this.at + count > this.size) throw truncated();
    this.at += count;
    return this.data.slice(this.at - count, this.at);
  }

  /** Reads a count and that many ascending numbers below `limit`, encoded as differences. Returns the count. */
  ascending(limit: number, into: Numbers): number {
    const count = this.varint();
    if (count > this.size - this.at) throw new MalformedMessage("a list is longer than the message");
    const numbers = into.reserve(count);
    let last = 0;
    for (let index = 0; index < count; index++) {
      const step = this.varint();
      if (index && !step) throw new MalformedMessage("a list contains a number twice");
      last += step;
      if (last >= limit) throw new MalformedMessage(`${last} is not below ${limit}`);
      numbers[index] = last;
    }
    return count;
  }

  // -- bits -----------------------------------------------------------------------------------------------

  /** Switches to bits, from the current byte. */
  toBits(): void {
    this.bit = this.at * 8;
  }

  /** Switches to bytes, from the next whole byte. */
  toBytes(): void {
    this.at = (this.bit + 7) >>> 3;
  }

  /** Raises MalformedMessage unless this number of bits is left. */
  need(bits: number): void {
    if (this.bit + bits > this.size * 8) throw truncated();
  }

  /** Reads a number of at most 32 bits. Call `need` first. */
  small(width: number): number {
    if (width === 0) return 0;
    const { data, bit } = this;
    const byte = bit >>> 3;
    const shift = bit & 7;
    this.bit = bit + width;
    let value = (data[byte]! | (data[byte + 1]! << 8) | (data[byte + 2]! << 16) | (data[byte + 3]! << 24)) >>> shift;
    if (shift + width > 32) value |= data[byte + 4]! << (32 - shift);
    return width === 32 ? value >>> 0 : value & ((1 << width) - 1);
  }

  /** Reads a number of at most 53 bits. Call `need` first. */
  number(width: number): number {
    if (width <= 32) return this.small(width);
    const low = this.small(32);
    return low + this.small(width - 32) * 2 ** 32;
  }

  /** Reads a number of at most 64 bits. Call `need` first. */
  big(width: number): bigint {
    const low = this.small(Math.min(width, 32));
    return width > 32 ? BigInt(low) | (BigInt(this.small(width - 32)) << 32n) : BigInt(low);
  }

  /** Reads a unary number: the count of zeros before a one, at most `limit`. */
  unary(limit: number): number {
    let zeros = 0;
    for (;;) {
      this.need(1);
      const left = Math.min(24, this.size * 8 - this.bit);
      const window = this.small(left);
      if (window) {
        const more = 31 - Math.clz32(window & -window);
        this.bit -= left - more - 1;
        zeros += more;
        if (zeros > limit) throw new MalformedMessage("a code is too long");
        return zeros;
      }
      zeros += left;
      if (zeros > limit) throw new MalformedMessage("a code is too long");
    }
  }
}

/** A growing array of doubles that is reused between frames. */
export class Numbers {
  private data = new Float64Array(64);

  /** Returns an array with space for `count` numbers. Its old contents are lost. */
  reserve(count: number): Float64Array {
    if (count > this.data.length) this.data = new Float64Array(2 * count);
    return this.data;
  }

  get values(): Float64Array {
    return this.data;
  }
}

/** A growing array of 32-bit integers that is reused between frames. */
export class Ints {
  private data = new Int32Array(64);

  reserve(count: number): Int32Array {
    if (count > this.data.length) this.data = new Int32Array(2 * count);
    return this.data;
  }
}

/** Decodes a zigzag number: 0, 1, 2, 3 become 0, -1, 1, -2. */
export function unzigzag(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}

export function unzigzagBig(value: bigint): bigint {
  return (value >> 1n) ^ -(value & 1n);
}

function truncated(): MalformedMessage {
  return new MalformedMessage("the packed part ends too early");
}

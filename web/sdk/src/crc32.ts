/** CRC-32 as in zlib, over the values that a checksum of the protocol covers. */

const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

export class Crc32 {
  private crc = 0xffffffff;

  get value(): number {
    return ~this.crc >>> 0;
  }

  bytes(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at++) this.byte(bytes[at]!);
  }

  /** Adds an unsigned number of four bytes, little-endian. */
  u32(value: number): void {
    this.byte(value & 0xff);
    this.byte((value >>> 8) & 0xff);
    this.byte((value >>> 16) & 0xff);
    this.byte((value >>> 24) & 0xff);
  }

  /** Adds a signed number of eight bytes, little-endian. */
  i64(value: number): void {
    const high = Math.floor(value / 2 ** 32);
    this.u32(value - high * 2 ** 32);
    this.u32(high);
  }

  private byte(byte: number): void {
    this.crc = TABLE[(this.crc ^ byte) & 0xff]! ^ (this.crc >>> 8);
  }
}

/** Quantises values: on the wire each value is an integer, by rules that server and clients share exactly. See
 * docs/protocol.md, "Fields". */

import { MalformedMessage } from "./errors.js";
import type { FieldDescription, FieldKind } from "./types.js";

export const KINDS: readonly FieldKind[] = ["bool", "uint", "int", "real", "angle", "enum", "entity", "text", "blob"];

const TAU = 2 * Math.PI;
const BITS_MAX = 53;
const SCALED_BITS_MAX = 32;

/** One field: its range, and the conversion between its integers and the game's values. */
export class Field {
  readonly name: string;
  readonly kind: FieldKind;
  readonly bits: number;
  readonly labels: readonly string[];
  readonly bytesMax: number;
  readonly isText: boolean;
  /** 2^bits for an angle, whose differences wrap; else 0. */
  readonly modulus: number;
  /** Whether the difference of two values may exceed the exact range of a double. */
  readonly isWide: boolean;
  readonly least: number;
  readonly greatest: number;
  readonly low: number;
  readonly scale: number;

  constructor(description: FieldDescription) {
    const { name, kind, bits, low, high, step, labels, bytesMax } = description;
    this.name = name;
    this.kind = kind;
    this.bits = bits;
    this.labels = labels;
    this.bytesMax = bytesMax;
    this.isText = kind === "text" || kind === "blob";
    this.modulus = kind === "angle" ? 2 ** bits : 0;
    this.isWide = bits > SCALED_BITS_MAX;
    this.low = kind === "real" ? low : 0;
    this.scale = kind === "real" ? step : kind === "angle" ? TAU / 2 ** bits : 1;
    this.least = kind === "int" ? -(2 ** (bits - 1)) : 0;
    this.greatest = this.greatestOf(kind, bits, low, high, step);
    this.check(high, step);
  }

  private greatestOf(kind: FieldKind, bits: number, low: number, high: number, step: number): number {
    switch (kind) {
      case "real":
        return Math.round((high - low) / step);
      case "int":
        return 2 ** (bits - 1) - 1;
      case "enum":
        return this.labels.length - 1;
      default:
        return 2 ** bits - 1;
    }
  }

  private check(high: number, step: number): void {
    const isScaled = this.kind === "real" || this.kind === "angle";
    const isPossible = this.isText
      ? this.bytesMax >= 1 && this.bytesMax <= 1024
      : this.bits >= 1 && this.bits <= (isScaled ? SCALED_BITS_MAX : BITS_MAX);
    const isRange = this.kind !== "real" || (this.low < high && step > 0 && this.greatest < 2 ** SCALED_BITS_MAX);
    if (!isPossible || !isRange || (this.kind === "enum" && !this.labels.length)) {
      throw new MalformedMessage(`the description of field ${this.name} is invalid`);
    }
  }

  /** Returns the value in the game's units: radians for angles, the index in `labels` for enumerations, 0 or 1 for booleans. */
  value(quantised: number): number {
    return this.low + quantised * this.scale;
  }

  /** Returns the integer that represents a value on the wire. Values out of range are clamped; angles wrap.
   *
   * @throws RangeError: the value is not a finite number. */
  quantise(value: number): number {
    if (!Number.isFinite(value)) throw new RangeError(`${this.name} is not a finite number`);
    const steps = roundHalfToEven((value - this.low) / this.scale);
    if (this.modulus) return ((steps % this.modulus) + this.modulus) % this.modulus;
    return Math.min(this.greatest, Math.max(this.least, this.kind === "real" ? steps : Math.trunc(value)));
  }
}

/** Rounds as numpy does, so that client and server agree. */
function roundHalfToEven(value: number): number {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** Returns the size of an input's payload in bytes: each field in whole bytes, the sum rounded up to four. */
export function inputBytes(fields: readonly Field[]): number {
  const size = fields.reduce((sum, field) => sum + ((field.bits + 7) >> 3), 0);
  return size + (-size & 3);
}

/** Encodes an input's payload. Missing fields are zero.
 *
 * @throws RangeError: the room has no such input, or a value is not a finite number. */
export function packInput(fields: readonly Field[], values: Readonly<Record<string, number>>): Uint8Array {
  checkNames(fields, values);
  const payload = new Uint8Array(inputBytes(fields));
  let at = 0;
  for (const field of fields) {
    let left = field.quantise(values[field.name] ?? 0);
    if (left < 0) left += 2 ** field.bits;
    for (let octets = (field.bits + 7) >> 3; octets; octets--) {
      payload[at++] = left & 0xff;
      left = Math.floor(left / 256);
    }
  }
  return payload;
}

/** Returns an input as the server receives it: quantised, with all fields.
 *
 * @throws RangeError: as `packInput`. */
export function quantiseInput(fields: readonly Field[], values: Readonly<Record<string, number>>): Record<string, number> {
  checkNames(fields, values);
  return Object.fromEntries(fields.map((field) => [field.name, field.value(field.quantise(values[field.name] ?? 0))]));
}

function checkNames(fields: readonly Field[], values: Readonly<Record<string, number>>): void {
  const unknown = Object.keys(values).filter((name) => !fields.some((field) => field.name === name));
  if (unknown.length) throw new RangeError(`unknown input ${unknown.join(", ")}; the inputs of this room are: ${names(fields)}`);
}

function names(fields: readonly Field[]): string {
  return fields.map((field) => field.name).join(", ") || "none";
}

/** Vectors and quaternions: adjacent fields of a table that are one value. See docs/protocol.md, "Groups". */

import { MalformedMessage } from "./errors.js";
import type { Field } from "./fields.js";
import { FORM_BITS, slerp, unpack } from "./quaternions.js";
import type { GroupDescription } from "./types.js";

/** Reads a number of one entity. */
export type ReadNumber<Name extends string = string> = (field: Name) => number;

/** Reads a vector (x, y, z) or a quaternion (x, y, z, w) of one entity, into an array that the caller may pass. */
export type ReadVector<Name extends string = string> = (field: Name, into?: number[]) => number[];

export class Group {
  readonly name: string;
  readonly isQuaternion: boolean;
  /** The names of the fields, in order. */
  readonly parts: readonly string[];

  constructor(description: GroupDescription, fields: readonly Field[]) {
    const { name, kind, first, size } = description;
    const parts = fields.slice(first, first + size);
    this.name = name;
    this.isQuaternion = kind === "quaternion";
    this.parts = parts.map((field) => field.name);
    const [form, ...numbers] = parts;
    const areReal = (this.isQuaternion ? numbers : parts).every((field) => field.kind === "real");
    const isSize = this.isQuaternion
      ? size === 4 && form?.kind === "uint" && form.bits === FORM_BITS
      : size >= 2 && size <= 4;
    if (!isSize || !areReal || parts.length !== size || fields.some((field) => field.name === name)) {
      throw new MalformedMessage(`the description of group ${name} is invalid`);
    }
  }

  /** Returns the value of an entity from its numbers. */
  join(number: ReadNumber, into: number[] = []): number[] {
    const { parts } = this;
    if (this.isQuaternion) {
      return unpack(number(parts[0]!), number(parts[1]!), number(parts[2]!), number(parts[3]!), into);
    }
    into.length = parts.length;
    for (let index = 0; index < parts.length; index++) into[index] = number(parts[index]!);
    return into;
  }

  /** Returns the value between two of them; quaternions turn by the shorter way. */
  mix(here: readonly number[], there: readonly number[], fraction: number, into: number[] = []): number[] {
    if (this.isQuaternion) return slerp(here, there, fraction, into);
    into.length = here.length;
    for (let index = 0; index < here.length; index++) into[index] = here[index]! + fraction * (there[index]! - here[index]!);
    return into;
  }
}

/** The pure parts: MessagePack, fields, back-off, interpolation, prediction, and who enters and leaves. */

import { describe, expect, it } from "vitest";

import { Backoff } from "../src/backoff.js";
import { EntityWatch } from "../src/entities.js";
import { Field, type FieldDescription, inputBytes, packInput } from "../src/fields.js";
import { Interpolation, shortWay, TickClock } from "../src/interpolation.js";
import { decode, encode } from "../src/msgpack.js";
import { Prediction } from "../src/prediction.js";
import type { TableView, World } from "../src/world.js";

function described(name: string, kind: FieldDescription["kind"], more: Partial<FieldDescription> = {}): FieldDescription {
  return { name, kind, bits: 8, low: 0, high: 0, step: 0, labels: [], bytesMax: 0, ...more };
}

describe("msgpack", () => {
  it.each([
    null,
    true,
    0,
    127,
    128,
    255,
    65536,
    2 ** 32,
    Number.MAX_SAFE_INTEGER,
    -1,
    -32,
    -33,
    -128,
    -129,
    -40000,
    -(2 ** 31),
    -(2 ** 40),
    1.5,
    "",
    "x".repeat(31),
    "ø".repeat(200),
    [],
    [1, [2, [3]]],
    { a: 1, b: { c: "d" } },
    Array.from({ length: 70_000 }, (_, at) => at % 7),
  ])("holds %j as it was", (value) => {
    expect(decode(encode(value))).toEqual(value);
  });

  it("holds bytes and large integers", () => {
    expect(decode(encode(Uint8Array.of(1, 2, 255)))).toEqual(Uint8Array.of(1, 2, 255));
    expect(decode(encode(2n ** 63n))).toBe(2n ** 63n);
    expect(decode(encode(-(2n ** 63n)))).toBe(-(2n ** 63n));
  });

  it("is what Python's msgspec makes", () => {
    const hex = "83a16101a16293c3c0cb3ff8000000000000a163a2c3b8";
    const bytes = Uint8Array.from(hex.match(/../g)!, (octet) => parseInt(octet, 16));
    expect(decode(bytes)).toEqual({ a: 1, b: [true, null, 1.5], c: "ø" });
    expect(encode({ a: 1, b: [true, null, 1.5], c: "ø" })).toEqual(bytes);
  });

  it.each(["c1", "92", "a5", "93ffff", "dd7fffffff", "0000", "df7fffffff"])("refuses %s", (hex) => {
    expect(() => decode(Uint8Array.from(hex.match(/../g)!, (octet) => parseInt(octet, 16)))).toThrow();
  });

  it("refuses what is nested without end", () => {
    expect(() => decode(new Uint8Array(500).fill(0x91))).toThrow(/deep/);
    const loop: unknown[] = [];
    loop.push(loop);
    expect(() => encode(loop)).toThrow(/deep/);
  });
});

describe("fields", () => {
  const x = new Field(described("x", "real", { bits: 13, low: -100, high: 100, step: 1 / 32 }));
  const heading = new Field(described("heading", "angle"));
  const level = new Field(described("level", "int"));

  it("are quantised as the server does it", () => {
    expect([-200, -100, 0, 0.02, 100, 200].map((value) => x.quantise(value))).toEqual([0, 0, 3200, 3201, 6400, 6400]);
    expect(x.value(3200)).toBe(0);
    expect([0, Math.PI, -Math.PI / 2, 20 * Math.PI].map((value) => heading.quantise(value))).toEqual([0, 128, 192, 0]);
    expect([-200, -5, 300].map((value) => level.quantise(value))).toEqual([-128, -5, 127]);
    expect(() => x.quantise(NaN)).toThrow(/finite/);
  });

  it("are packed into an input in whole bytes, filled up to four", () => {
    expect(inputBytes([x, heading, level])).toBe(4);
    expect(packInput([x, level], { x: 0.03125, level: -2 })).toEqual(Uint8Array.of(0x81, 0x0c, 0xfe, 0));
    expect(() => packInput([x], { y: 1 })).toThrow(/no input y/);
  });

  it("that cannot be are refused", () => {
    expect(() => new Field(described("x", "uint", { bits: 54 }))).toThrow();
    expect(() => new Field(described("x", "enum"))).toThrow();
    expect(() => new Field(described("x", "real", { low: 1, high: 0, step: 1 }))).toThrow();
    expect(() => new Field(described("x", "text", { bytesMax: 5000 }))).toThrow();
  });
});

describe("back-off", () => {
  it("grows, is random, and never comes before the advice", () => {
    const most = new Backoff(() => 1);
    expect([most.next(), most.next(), most.next()]).toEqual([250, 500, 1000]);
    for (let more = 0; more < 10; more++) most.next();
    expect(most.next()).toBe(10_000);
    expect(new Backoff(() => 0).next(3000)).toBe(3000);
    expect(new Backoff(() => 0).next()).toBe(0);
  });
});

/** A table as far as interpolation and watches look at it. */
class Fake {
  rows = new Map<number, Record<string, number>>();
  readonly name = "ships";
  readonly fields = [described("x", "real"), described("way", "angle"), described("hp", "uint")].map((one) => ({ ...one }));

  get ids(): number[] {
    return [...this.rows.keys()];
  }
  has(id: number): boolean {
    return this.rows.has(id);
  }
  numbers(field: string, into: number[]): number[] {
    into.length = 0;
    into.push(...[...this.rows.values()].map((row) => row[field]!));
    return into;
  }
  each(visit: (id: number, number: (field: string) => number) => void): void {
    for (const [id, row] of this.rows) visit(id, (field) => row[field]!);
  }
}

describe("interpolation", () => {
  const table = new Fake();
  const view = table as unknown as TableView;

  it("is between two ticks, the short way round, and holds what cannot be between", () => {
    const shown = new Interpolation(view, ["x", "way", "hp"]);
    table.rows.set(1, { x: 0, way: 6.2, hp: 9 });
    shown.heard({ tick: 10 } as World);
    table.rows.set(1, { x: 10, way: 0.1, hp: 3 });
    table.rows.set(2, { x: 5, way: 0, hp: 1 });
    shown.heard({ tick: 12 } as World);
    const at = (tick: number) => {
      const found: Record<number, number[]> = {};
      shown.at(tick, (id, number) => (found[id] = [number("x"), number("way"), number("hp")]));
      return found;
    };
    expect(at(11)[1]![0]).toBeCloseTo(5);
    expect(at(11)[1]![1]).toBeCloseTo(6.2 + shortWay(0.1 - 6.2) / 2);
    expect(at(11)[1]![2]).toBe(9);
    expect(Object.keys(at(11))).toEqual(["1"]);
    expect(at(12)[2]).toEqual([5, 0, 1]);
    expect(at(99)[1]![0]).toBe(10);
    expect(at(3)[1]![0]).toBe(0);
  });

  it("shows ticks by the least late of them", () => {
    const clock = new TickClock(20, 2);
    expect(clock.shown(0)).toBe(-Infinity);
    clock.heard(100, 5000);
    clock.heard(101, 5130); // 80 ms late
    expect(clock.shown(5100)).toBeCloseTo(100);
  });
});

describe("prediction", () => {
  const step = (state: Readonly<{ x: number }>, by: number) => ({ x: state.x + by });

  it("is where the server says, and what it has not spoken of yet on top", () => {
    const own = new Prediction<{ x: number }, number>(step);
    own.sent(1, 5);
    expect(own.now).toBeNull();
    own.confirmed({ x: 100 }, 0);
    expect(own.now).toEqual({ x: 105 });
    own.sent(2, 5);
    own.sent(3, 5);
    own.confirmed({ x: 104 }, 2); // the server was of another mind about the first
    expect(own.now).toEqual({ x: 109 });
    expect(own.unacknowledged).toBe(1);
    own.reset();
    expect(own.now).toBeNull();
  });
});

describe("a watch", () => {
  it("tells who enters, changes and leaves, once each", () => {
    const table = new Fake();
    const told: string[] = [];
    const watch = new EntityWatch(table as unknown as TableView, ["x"], {
      enter: (id) => told.push(`+${id}`),
      change: (id) => told.push(`~${id}`),
      leave: (id) => told.push(`-${id}`),
    });
    table.rows.set(1, { x: 1, hp: 1 });
    watch.heard();
    watch.heard();
    table.rows.set(1, { x: 1, hp: 2 }); // nobody has asked for hp
    table.rows.set(2, { x: 1 });
    watch.heard();
    table.rows.set(1, { x: 2 });
    table.rows.delete(2);
    watch.heard();
    watch.end();
    expect(told).toEqual(["+1", "+2", "-2", "~1", "-1"]);
  });
});

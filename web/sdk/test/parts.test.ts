/** Tests the pure parts: MessagePack, fields, back-off, interpolation, prediction and entity tracking. */

import { describe, expect, it } from "vitest";

import { Backoff } from "../src/backoff.js";
import { EntityTracker } from "../src/entities.js";
import { Field, inputBytes, packInput } from "../src/fields.js";
import { Interpolation, shortWay, TickClock } from "../src/interpolation.js";
import { decode, encode } from "../src/msgpack.js";
import { Prediction } from "../src/prediction.js";
import type { FieldDescription } from "../src/types.js";
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
  ])("round-trips %j", (value) => {
    expect(decode(encode(value))).toEqual(value);
  });

  it("round-trips bytes and large integers", () => {
    expect(decode(encode(Uint8Array.of(1, 2, 255)))).toEqual(Uint8Array.of(1, 2, 255));
    expect(decode(encode(2n ** 63n))).toBe(2n ** 63n);
    expect(decode(encode(-(2n ** 63n)))).toBe(-(2n ** 63n));
  });

  it("keeps a byte order mark in a text", () => {
    expect(decode(encode("\ufeffann"))).toBe("\ufeffann");
  });

  it("equals the encoding of Python's msgspec", () => {
    const hex = "83a16101a16293c3c0cb3ff8000000000000a163a2c3b8";
    const bytes = Uint8Array.from(hex.match(/../g)!, (octet) => parseInt(octet, 16));
    expect(decode(bytes)).toEqual({ a: 1, b: [true, null, 1.5], c: "ø" });
    expect(encode({ a: 1, b: [true, null, 1.5], c: "ø" })).toEqual(bytes);
  });

  it.each([
    ["d6ff65920080", 1_704_067_200_000],
    ["d7ff7735940065920080", 1_704_067_200_500],
    ["c70cff00000000ffffffffffffffff", -1000],
    ["c70cff0000000000000004a0fe7280", 19_880_899_200_000],
  ])("reads the timestamp %s as msgspec writes it", (hex, ms) => {
    const bytes = Uint8Array.from(hex.match(/../g)!, (octet) => parseInt(octet, 16));
    expect(decode(bytes)).toEqual(new Date(ms));
  });

  it.each([0, 1_704_067_200_123, -1, -62_135_596_800_000, 253_402_300_799_999])("round-trips the date %i", (ms) => {
    expect(decode(encode({ at: new Date(ms) }))).toEqual({ at: new Date(ms) });
  });

  it.each([new Date(NaN), new Map([[1, 2]]), new Set([1]), new Float32Array(2), new ArrayBuffer(2), () => 1])(
    "refuses to write %s instead of writing something else",
    (value) => {
      expect(() => encode({ value })).toThrow();
    },
  );

  it.each(["d401ff", "c70cfe000000000000000000000000", "c703ff000000", "d6ff6592", "c70cff000000007fffffffffffffff"])("refuses the extension %s", (hex) => {
    expect(() => decode(Uint8Array.from(hex.match(/../g)!, (octet) => parseInt(octet, 16)))).toThrow();
  });

  it.each(["a2c328", "c1", "92", "a5", "93ffff", "dd7fffffff", "0000", "df7fffffff"])("refuses %s", (hex) => {
    expect(() => decode(Uint8Array.from(hex.match(/../g)!, (octet) => parseInt(octet, 16)))).toThrow();
  });

  it("refuses values that are nested too deeply", () => {
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

  it("are quantised as on the server", () => {
    expect([-200, -100, 0, 0.02, 100, 200].map((value) => x.quantise(value))).toEqual([0, 0, 3200, 3201, 6400, 6400]);
    expect(x.value(3200)).toBe(0);
    expect([0, Math.PI, -Math.PI / 2, 20 * Math.PI].map((value) => heading.quantise(value))).toEqual([0, 128, 192, 0]);
    expect([-200, -5, 300].map((value) => level.quantise(value))).toEqual([-128, -5, 127]);
    expect(() => x.quantise(NaN)).toThrow(/finite/);
  });

  it("are packed into an input in whole bytes, padded to four", () => {
    expect(inputBytes([x, heading, level])).toBe(4);
    expect(packInput([x, level], { x: 0.03125, level: -2 })).toEqual(Uint8Array.of(0x81, 0x0c, 0xfe, 0));
    expect(() => packInput([x], { y: 1 })).toThrow(/unknown input y/);
  });

  it("with invalid descriptions are refused", () => {
    expect(() => new Field(described("x", "uint", { bits: 54 }))).toThrow();
    expect(() => new Field(described("x", "enum"))).toThrow();
    expect(() => new Field(described("x", "real", { low: 1, high: 0, step: 1 }))).toThrow();
    expect(() => new Field(described("x", "text", { bytesMax: 5000 }))).toThrow();
  });
});

describe("back-off", () => {
  it("grows, is random, and is never shorter than the advice", () => {
    const most = new Backoff(() => 1);
    expect([most.next(), most.next(), most.next()]).toEqual([250, 500, 1000]);
    for (let more = 0; more < 10; more++) most.next();
    expect(most.next()).toBe(10_000);
    expect(new Backoff(() => 0).next(3000)).toBe(3000);
    expect(new Backoff(() => 0).next()).toBe(0);
  });
});

/** The part of a table that interpolation and entity tracking read. */
class Fake {
  rows = new Map<number, Record<string, number>>();
  readonly name = "ships";
  readonly groups = [];
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

/** A world with one table, at a tick. */
function worldOf(table: Fake, tick: number): World {
  return { tick, tableNames: ["ships"], table: () => table as unknown as TableView } as unknown as World;
}

describe("interpolation", () => {
  const table = new Fake();
  const world = worldOf(table, 0);
  const at = (shown: Interpolation, tick: number) => {
    const found: Record<number, number> = {};
    shown.sample(tick, (id, number) => (found[id] = number("x")));
    return found;
  };

  it("interpolates between two ticks, angles in the shorter direction, and keeps other values", () => {
    const shown = new Interpolation("ships", ["x", "way", "hp"]);
    table.rows.set(1, { x: 0, way: 6.2, hp: 9 });
    world.tick = 10;
    shown.push(world);
    table.rows.set(1, { x: 10, way: 0.1, hp: 3 });
    table.rows.set(2, { x: 5, way: 0, hp: 1 });
    world.tick = 12;
    shown.push(world);
    const all = (tick: number) => {
      const found: Record<number, number[]> = {};
      shown.sample(tick, (id, number) => (found[id] = [number("x"), number("way"), number("hp")]));
      return found;
    };
    expect(all(11)[1]![0]).toBeCloseTo(5);
    expect(all(11)[1]![1]).toBeCloseTo(6.2 + shortWay(0.1 - 6.2) / 2);
    expect(all(11)[1]![2]).toBe(9);
    expect(Object.keys(all(11))).toEqual(["1"]);
    expect(all(12)[2]).toEqual([5, 0, 1]);
    expect(all(99)[1]![0]).toBe(10);
    expect(all(3)[1]![0]).toBe(0);
  });

  it("discards its snapshots when it receives another world", () => {
    const shown = new Interpolation("ships", ["x"]);
    const [before, after] = [new Fake(), new Fake()];
    before.rows.set(1, { x: 0 });
    shown.push(worldOf(before, 10));
    after.rows.set(2, { x: 7 });
    shown.push(worldOf(after, 11));
    expect([at(shown, 10.5), at(shown, 11)]).toEqual([{ 2: 7 }, { 2: 7 }]);
  });

  it("discards newer snapshots when the tick goes back", () => {
    const shown = new Interpolation("ships", ["x"]);
    const rows = new Fake();
    const same = worldOf(rows, 0);
    for (const [tick, x] of [[10, 100], [11, 110], [12, 120], [11, 0], [12, 10]] as const) {
      rows.rows.set(1, { x });
      same.tick = tick;
      shown.push(same);
    }
    expect([at(shown, 10), at(shown, 11), at(shown, 11.5), at(shown, 99)]).toEqual([{ 1: 100 }, { 1: 0 }, { 1: 5 }, { 1: 10 }]);
  });

  it("is empty while the world has no such table", () => {
    const shown = new Interpolation("ships", ["x"]);
    shown.push({ tick: 1, tableNames: [] } as unknown as World);
    expect(at(shown, 1)).toEqual({});
  });

  it("has a clock that recovers within four frames when the ticks have shifted", () => {
    const clock = new TickClock(20, 2);
    for (let tick = 0; tick < 100; tick++) clock.observe(tick, tick * 50);
    const late = (tick: number) => tick * 50 + 600; // a tick blocked for 0.6 s
    for (let tick = 100; tick < 104; tick++) clock.observe(tick, late(tick));
    expect(clock.renderTick(late(103))).toBeCloseTo(101);
  });

  it("has a clock that a burst after a stall does not move", () => {
    const clock = new TickClock(20, 2);
    for (let tick = 0; tick < 50; tick++) clock.observe(tick, tick * 50);
    for (let tick = 50; tick < 70; tick++) clock.observe(tick, 70 * 50); // all at once
    clock.observe(70, 70 * 50);
    expect(clock.renderTick(70 * 50)).toBeCloseTo(68);
  });

  it("has a clock that restarts when the tick goes back", () => {
    const clock = new TickClock(20, 2);
    for (let tick = 500; tick < 510; tick++) clock.observe(tick, tick * 50);
    clock.observe(400, 510 * 50);
    expect(clock.renderTick(510 * 50)).toBeCloseTo(398);
  });

  it("renders ticks relative to the least delayed frame", () => {
    const clock = new TickClock(20, 2);
    expect(clock.renderTick(0)).toBe(-Infinity);
    clock.observe(100, 5000);
    clock.observe(101, 5130); // 80 ms late
    expect(clock.renderTick(5100)).toBeCloseTo(100);
  });
});

describe("prediction", () => {
  const step = (state: Readonly<{ x: number }>, by: number) => ({ x: state.x + by });

  it("applies unacknowledged inputs on top of the server state", () => {
    const own = new Prediction<{ x: number }, number>(step);
    own.sent(1, 5);
    expect(own.now).toBeNull();
    own.confirmed({ x: 100 }, 0);
    expect(own.now).toEqual({ x: 105 });
    own.sent(2, 5);
    own.sent(3, 5);
    own.confirmed({ x: 104 }, 2); // the server computed another result for the first input
    expect(own.now).toEqual({ x: 109 });
    expect(own.unacknowledged).toBe(1);
    own.reset();
    expect(own.now).toBeNull();
  });

  it("applies an acknowledgement without a state: the inputs changed nothing", () => {
    const own = new Prediction<{ x: number }, number>(step);
    own.confirmed({ x: 100 }, 0);
    own.sent(1, 5);
    own.sent(2, 5);
    own.acknowledged(1);
    expect([own.now, own.unacknowledged]).toEqual([{ x: 105 }, 1]);
    own.acknowledged(2);
    expect([own.now, own.unacknowledged]).toEqual([{ x: 100 }, 0]);
  });

  it("ignores an input that was not sent", () => {
    const own = new Prediction<{ x: number }, number>(step);
    own.confirmed({ x: 100 }, 0);
    own.sent(0, 5);
    expect([own.now, own.unacknowledged]).toEqual([{ x: 100 }, 0]);
  });

  it("discards pending inputs, and returns to the server state", () => {
    const own = new Prediction<{ x: number }, number>(step);
    own.confirmed({ x: 100 }, 0);
    own.sent(1, 5);
    own.clearPending();
    expect([own.now, own.unacknowledged]).toEqual([{ x: 100 }, 0]);
    own.confirmed({ x: 104 }, 0);
    expect(own.now).toEqual({ x: 104 });
  });
});

describe("the correction of a prediction", () => {
  const turn = (ship: Readonly<{ x: number; heading: number }>, by: number) => ({ ...ship, x: ship.x + by });
  let nowMs = 0;
  const now = () => nowMs;

  function corrected(by: number, options: object = {}): Prediction<{ x: number; heading: number }, number> {
    nowMs = 1000;
    const own = new Prediction<{ x: number; heading: number }, number>(turn, { angles: ["heading"], now, ...options });
    own.confirmed({ x: 100, heading: 3.1 }, 0);
    own.confirmed({ x: 100 + by, heading: -3.1 }, 0);
    return own;
  }

  it("does not move the drawn state at once, and is applied by half after the half life", () => {
    const own = corrected(8, { halfLifeMs: 50 });
    expect(own.now).toEqual({ x: 108, heading: -3.1 });
    expect(own.sample()!.x).toBeCloseTo(100);
    expect(own.sample(1050)!.x).toBeCloseTo(104);
    expect(own.sample(1150)!.x).toBeCloseTo(107);
    expect(own.now).toEqual({ x: 108, heading: -3.1 });
  });

  it("has a half life of 100 ms, and turns angles the shorter way", () => {
    const { heading } = corrected(8).sample(1100)!;
    expect(heading).toBeCloseTo(-3.1 + (6.2 - 2 * Math.PI) / 2);
  });

  it("adds to what is left of the correction before", () => {
    const own = corrected(8);
    nowMs = 1100;
    own.confirmed({ x: 112, heading: -3.1 }, 0);
    expect(own.sample()!.x).toBeCloseTo(104); // 112 - 4 - 4
  });

  it("is applied at once above the snap distance, or without a half life", () => {
    expect(corrected(8, { snapDistance: 7.9 }).sample()).toEqual({ x: 108, heading: -3.1 });
    expect(corrected(8, { snapDistance: 8.1 }).sample()!.x).toBeCloseTo(100);
    expect(corrected(8, { halfLifeMs: 0 }).sample()).toEqual({ x: 108, heading: -3.1 });
  });

  it("is forgotten when the prediction is reset", () => {
    const own = corrected(8);
    own.reset();
    own.confirmed({ x: 0, heading: 0 }, 0);
    expect(own.sample()).toEqual({ x: 0, heading: 0 });
  });

  it("does not disturb the motion between two steps", () => {
    nowMs = 1000;
    const own = new Prediction<{ x: number; heading: number }, number>(turn, { tickMs: 50, now });
    own.confirmed({ x: 100, heading: 0 }, 0);
    own.sent(1, 10);
    expect([1000, 1025, 1050, 1080].map((at) => own.sample(at)!.x)).toEqual([100, 105, 110, 110]);
    nowMs = 1025;
    own.confirmed({ x: 104, heading: 0 }, 0);
    expect(own.now!.x).toBe(114);
    expect(own.sample()!.x).toBeCloseTo(105);
  });
});

describe("the inputs of a prediction", () => {
  const inputs = [described("thrust", "real", { low: -1, high: 1, step: 0.25 }), described("fire", "bool", { bits: 1 })];

  it("are applied as the server receives them: quantised, in range, and with all fields", () => {
    const step = (state: Readonly<{ x: number }>, input: Record<string, number>) => ({ x: state.x + input.thrust! + 10 * input.fire! });
    const own = new Prediction<{ x: number }, Record<string, number>>(step, { inputs });
    own.confirmed({ x: 0 }, 0);
    own.sent(1, { thrust: 0.3 });
    expect(own.now).toEqual({ x: 0.25 });
    own.sent(2, { thrust: -7, fire: 1 });
    expect(own.now).toEqual({ x: 9.25 });
    expect(() => own.sent(3, { thurst: 1 })).toThrow(/unknown input thurst/);
  });

  it("carry fields that the server does not send to the state that it confirms", () => {
    type Car = { x: number; speed: number };
    const step = (car: Readonly<Car>, push: number): Car => ({ speed: car.speed + push, x: car.x + car.speed + push });
    const own = new Prediction<Car, number, { x: number }>(step, { local: { speed: 0 } });
    own.confirmed({ x: 0 }, 0);
    own.sent(1, 1);
    own.sent(2, 1);
    own.sent(3, 0);
    expect(own.now).toEqual({ x: 5, speed: 2 });
    own.confirmed({ x: 1 }, 1); // the speed after the first input is 1
    expect(own.now).toEqual({ x: 5, speed: 2 });
    own.acknowledged(3);
    expect(own.now).toEqual({ x: 1, speed: 2 });
    own.reset();
    own.confirmed({ x: 0 }, 3);
    expect(own.now).toEqual({ x: 0, speed: 0 });
  });
});

describe("an entity tracker", () => {
  it("reports each entity that enters, changes and leaves once", () => {
    const table = new Fake();
    const reported: string[] = [];
    const world = worldOf(table, 1);
    const tracker = new EntityTracker("ships", ["x"], {
      enter: (id) => reported.push(`+${id}`),
      change: (id) => reported.push(`~${id}`),
      leave: (id) => reported.push(`-${id}`),
    });
    table.rows.set(1, { x: 1, hp: 1 });
    tracker.update(world);
    tracker.update(world);
    table.rows.set(1, { x: 1, hp: 2 }); // hp is not tracked
    table.rows.set(2, { x: 1 });
    tracker.update(world);
    table.rows.set(1, { x: 2 });
    table.rows.delete(2);
    tracker.update(world);
    tracker.end();
    expect(reported).toEqual(["+1", "+2", "-2", "~1", "-1"]);
  });

  it("reports in another world that all entities left and others entered", () => {
    const [before, after] = [new Fake(), new Fake()];
    const reported: string[] = [];
    const tracker = new EntityTracker("ships", ["x"], {
      enter: (id) => reported.push(`+${id}`),
      change: (id) => reported.push(`~${id}`),
      leave: (id) => reported.push(`-${id}`),
    });
    before.rows.set(1, { x: 1 });
    tracker.update(worldOf(before, 1));
    after.rows.set(1, { x: 1 });
    tracker.update(worldOf(after, 2));
    tracker.update({ tick: 3, tableNames: [] } as unknown as World);
    expect(reported).toEqual(["+1", "-1", "+1", "-1"]);
  });
});

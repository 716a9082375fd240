/** Vectors and quaternions: their descriptions, and how they are read, interpolated and tracked. */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { describe, expect, it } from "vitest";

import { EntityTracker } from "../src/entities.js";
import { Field, KINDS } from "../src/fields.js";
import { Group } from "../src/groups.js";
import { Interpolation } from "../src/interpolation.js";
import { decodeServer } from "../src/messages.js";
import { slerp, unpack } from "../src/quaternions.js";
import type { FieldDescription, GroupDescription } from "../src/types.js";
import { World } from "../src/world.js";

const GOLDEN = fileURLToPath(new URL("../../../schemas/golden/version_4/groups.json", import.meta.url));
/** A Joined that the server's encoder wrote: the vector place, the quaternion turn, and a group of a later kind. */
const JOINED =
  "1400000000000e000e00000000000000070008000e0000000000000218000000000012000e00080000000000000000000000040012000000100000003402000000000600080004000600000004000000010000001000000000000a0010000c00080004000a0000000c00000088000000f4010000030000006400000038000000100000000c000c0008000700000006000c000000000009c804000000050000006c617465720000000c0010000c000b00080007000c000000000000040300000104000000040000007475726e000000000c000c0008000000060005000c000000000201000400000005000000706c616365000000070000005801000018010000d4000000b40000007c000000380000000400000010ffffff79c8c0497feb973f35c2724f232ce73f35c2724f232ce7bf0000060304000000060000007475726e5f63000040ffffff79c8c0497feb973f35c2724f232ce73f35c2724f232ce7bf0000060304000000060000007475726e5f6200001000280024002300220014000c0004001000000079c8c0497feb973f35c2724f232ce73f35c2724f232ce7bf000000000000060304000000060000007475726e5f61000072ffffff0000080104000000090000007475726e5f666f726d000000d0ffffff000000000000e03f000000000000f03f000000000000f0bf000003030400000007000000706c6163655f79001000240020001f001e0014000c00040010000000000000000000e03f000000000000f03f000000000000f0bf000003030400000007000000706c6163655f780000000a000c000800070006000a00000000000701040000000200000068700000050000006b697465730000000100000072000000";
const HALF = Math.SQRT1_2;

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (octet) => parseInt(octet, 16));
}

/** Returns a world with the first states of the golden vectors. */
function worldAfter(states: number, visit: (world: World) => void = () => {}): World {
  const golden = JSON.parse(readFileSync(GOLDEN, "utf8"));
  const [{ name, fields, groups }] = golden.description.tables;
  const described = {
    name,
    fields: fields.map((one: any) => ({ ...one, kind: KINDS[one.kind], bytesMax: one.bytes_max })),
    groups: groups.map((one: any) => ({ ...one, kind: ["vector", "quaternion"][one.kind] })),
  };
  const world = new World({ tables: [described], inputs: [] });
  for (const step of golden.steps.slice(0, states)) {
    const frame = decodeServer(bytesOf(step.frame), world.tick);
    if (frame.type !== "state") throw new Error(`${frame.type} is not a state`);
    const { channel, age, flags, packed, tick } = frame;
    world.apply({ channel, isKeyframe: !age, hasChecksum: !!(flags & 1), packed }, tick, age);
    world.finish(tick, null);
    visit(world);
  }
  return world;
}

function expectClose(shown: readonly number[], wanted: readonly number[], digits = 3): void {
  expect(shown.length).toBe(wanted.length);
  shown.forEach((number, at) => expect(number).toBeCloseTo(wanted[at]!, digits));
}

describe("a description", () => {
  it("has the groups of the server, without those of unknown kinds", () => {
    const joined = decodeServer(bytesOf(JOINED));
    if (joined.type !== "joined") throw new Error(joined.type);
    expect(joined.description.tables[0]!.groups).toEqual([
      { name: "place", kind: "vector", first: 1, size: 2 },
      { name: "turn", kind: "quaternion", first: 3, size: 4 },
    ]);
    expect(new World(joined.description).table("kites").groups.map((group) => group.parts)).toEqual([
      ["place_x", "place_y"],
      ["turn_form", "turn_a", "turn_b", "turn_c"],
    ]);
  });

  it.each([
    ["vector", 0, 1],
    ["vector", 0, 5],
    ["vector", 1, 3],
    ["vector", 3, 2],
    ["quaternion", 0, 4],
    ["quaternion", 3, 3],
  ] as const)("of a %s of %i and %i fields is refused", (kind, first, size) => {
    const field = (name: string, kind: FieldDescription["kind"]) =>
      new Field({ name, kind, bits: 8, low: 0, high: 1, step: 0.1, labels: [], bytesMax: 0 });
    const fields = [field("x", "real"), field("y", "real"), field("z", "real"), field("form", "uint")];
    const group: GroupDescription = { name: "g", kind, first, size };
    expect(() => new Group(group, fields)).toThrow("the description of group g is invalid");
  });
});

describe("a quaternion", () => {
  it("has length 1, whatever the numbers are", () => {
    for (let form = 0; form < 256; form++) {
      for (const [a, b, c] of [[0, 0, 0], [0.7, -0.7, 0.7], [0.1, 0.2, -0.3]] as const) {
        expect(Math.hypot(...unpack(form, a, b, c, []))).toBeCloseTo(1, 12);
      }
    }
  });

  it("has the dropped component and the signs of its form", () => {
    expect(unpack(0, 0, 0, 0, [])).toEqual([0, 0, 0, 1]);
    expect(unpack(8 * 6, 0, 0, 0, [])).toEqual([1, 0, 0, 0]);
    expectClose(unpack(0b101, 0.1, 0.2, 0.3, []), [-0.1, 0.2, -0.3, Math.sqrt(0.86)], 9);
  });

  it("turns by the shorter way at a constant speed", () => {
    const none = [0, 0, 0, 1];
    expectClose(slerp(none, [0, 0, 1, 0], 0.5), [0, 0, HALF, HALF], 9);
    expectClose(slerp(none, [0, 0, -HALF, -HALF], 0.5), [0, 0, Math.sin(Math.PI / 8), Math.cos(Math.PI / 8)], 9);
    expectClose(slerp(none, [0, 0, 0, -1], 0.3), none, 9);
    expectClose(slerp(none, none, 0.3), none, 9);
  });
});

describe("a table", () => {
  const table = worldAfter(1).table("bodies");
  const [first] = table.ids as [number];

  it("shows vectors with their parts, and quaternions without", () => {
    expect(table.value(first, "position")).toEqual(table.vector(first, "position"));
    expectClose(table.value(first, "position"), [-5.95, 0.05, 0.05]);
    const body = table.get(first);
    expect(Object.keys(body)).toEqual(["position_x", "position_y", "position_z", "aim_x", "aim_y", "hp", "position", "rotation", "aim"]);
    expect(body.position[0]).toBe(body.position_x);
    expect(Math.hypot(...body.rotation)).toBeCloseTo(1, 9);
    expect(table.vector(0, "position")).toBeUndefined();
    expect(() => table.vector(first, "hp")).toThrow("the table bodies has no vector or quaternion hp");
  });

  it("reads vectors into an array of the caller", () => {
    const into = [9, 9, 9, 9];
    const shown: number[][] = [];
    table.each((_, number, vector) => {
      expect(vector("aim", into)).toBe(into);
      expect(into).toEqual([number("aim_x"), number("aim_y")]);
      shown.push(vector("position"));
    });
    expect(shown.length).toBe(8);
  });

  it("tracks the changes of vectors and quaternions", () => {
    const changed: Record<string, number> = {};
    const track = (name: string) => {
      changed[name] = 0;
      return new EntityTracker("bodies", [name], { change: () => changed[name]!++ });
    };
    const trackers = ["position", "rotation", "aim"].map(track);
    worldAfter(3, (world) => trackers.forEach((tracker) => tracker.update(world)));
    expect(changed).toEqual({ position: 16, rotation: 16, aim: 0 });
  });
});

describe("interpolation", () => {
  it("moves vectors in a line and turns quaternions", () => {
    const shown = new Interpolation("bodies", ["position", "rotation", "hp"]);
    const states: { position: number[]; rotation: number[] }[] = [];
    const world = worldAfter(2, (world) => {
      shown.push(world);
      states.push(world.table("bodies").get(world.table("bodies").ids[0]!));
    });
    const [older, newer] = states as [(typeof states)[0], (typeof states)[0]];
    const sample = (tick: number) => {
      const found: Record<number, [number[], number[], number]> = {};
      shown.sample(tick, (id, number, vector) => (found[id] = [vector("position"), vector("rotation", []), number("hp")]));
      return found[world.table("bodies").ids[0]!]!;
    };
    const [position, rotation, hp] = sample(1.25);
    expectClose(position, older.position.map((number, at) => number + (newer.position[at]! - number) / 4), 9);
    expectClose(rotation, slerp(older.rotation, newer.rotation, 0.25), 9);
    expect(rotation).not.toEqual(older.rotation);
    expect(hp).toBe(100);
    expect(sample(0.5)[0]).toEqual(older.position);
    expect(sample(9)[1]).toEqual(newer.rotation);
    expect(() => shown.sample(1, (_, _number, vector) => vector("aim"))).toThrow(/aim is not interpolated/);
  });
});

/** Messages of the client, and state frames and acknowledgements: structs, and the tables of servers with schema version 3. */

import { ByteBuffer } from "flatbuffers";
import { describe, expect, it } from "vitest";

import { command, ping } from "../src/client_messages.js";
import { ClientCore } from "../src/core.js";
import { MalformedMessage } from "../src/errors.js";
import { ClientMessage } from "../src/generated/tickwire/client-message";
import { Command } from "../src/generated/tickwire/command";
import { Ping } from "../src/generated/tickwire/ping";
import { decodeServer } from "../src/messages.js";
import { decode } from "../src/msgpack.js";
import { ack, delta, joinedIn, state, tableAck, tableState, welcome } from "./fakes.js";

function seated(): ClientCore {
  const core = new ClientCore();
  core.receive(welcome(1, "token"), 0);
  core.receive(joinedIn("room-1"), 0);
  return core;
}

describe("a message of the client", () => {
  it("is read by the code of flatc, with aligned numbers", () => {
    const data = command(2n ** 40n + 7n, "buy", { item: "tea" });
    const read = ClientMessage.getRootAsClientMessage(new ByteBuffer(data)).body(new Command()) as Command;
    expect([read.id(), read.name(), decode(read.payloadArray()!)]).toEqual([2n ** 40n + 7n, "buy", { item: "tea" }]);
    const at = data.findIndex((byte, index) => byte === 7 && data[index + 5] === 1);
    expect([at % 8, data.length % 4]).toEqual([0, 0]);
  });

  it("has no fields with default values", () => {
    expect(ping(0n, 0, 0).length).toBeLessThan(50);
    const read = ClientMessage.getRootAsClientMessage(new ByteBuffer(ping(5n, 0, 2))).body(new Ping()) as Ping;
    expect([read.clientTimeUs(), read.lastEvent(), read.generation()]).toEqual([5n, 0, 2]);
  });
});

describe("a struct", () => {
  it("has the whole tick, or its lowest 16 bits", () => {
    expect(decodeServer(state(70_000))).toMatchObject({ type: "state", tick: 70_000, channel: 0, age: 0, flags: 0 });
    const later = decodeServer(delta(70_003, 3), 70_000);
    expect(later).toMatchObject({ type: "state", tick: 70_003, channel: 0, age: 3, flags: 0, packed: Uint8Array.of(0) });
    expect(decodeServer(delta(65_536, 1), 65_535)).toMatchObject({ tick: 65_536 });
  });

  it("acknowledges the nearest input with the lowest 16 bits", () => {
    expect(decodeServer(ack(80_000, 65_535), 0, 65_540)).toEqual({ type: "ack", tick: 80_000, seq: 65_535 });
    expect(decodeServer(ack(80_000, 0), 0, 0)).toMatchObject({ seq: 0 });
    expect(decodeServer(ack(80_000, 40_000), 0, 0)).toMatchObject({ seq: 40_000 });
    expect(decodeServer(ack(80_000, 2 ** 32 - 1), 0, 2 ** 32 - 1)).toMatchObject({ seq: 2 ** 32 - 1 });
  });

  it.each([1, 3, 5])("of kind %i is refused if its size is wrong", (kind) => {
    expect(() => decodeServer(Uint8Array.of(kind))).toThrow(MalformedMessage);
    expect(() => decodeServer(Uint8Array.of(kind, 0, 0))).toThrow(MalformedMessage);
    if (kind === 5) expect(() => decodeServer(Uint8Array.of(...ack(1, 2), 0))).toThrow(MalformedMessage);
  });

  it("of an unknown kind is ignored", () => {
    expect(decodeServer(Uint8Array.of(7, 1, 2))).toEqual({ type: "unknown" });
  });
});

describe("the core", () => {
  it("follows frames over 65,535 ticks", () => {
    const core = seated();
    for (const tick of [65_530, 131_060]) expect(core.receive(state(tick), 0)).toMatchObject({ type: "state", tick });
    for (let tick = 131_061; tick < 131_090; tick += 3) core.receive(delta(tick, tick === 131_061 ? 1 : 3), 0);
    expect(core.world!.tick).toBe(131_088);
    expect([core.resyncs, core.outgoing.length]).toEqual([0, 0]);
  });

  it("asks for a keyframe if a frame is missing", () => {
    const core = seated();
    core.receive(state(70_000), 0);
    expect(core.receive(delta(70_005, 2), 0)).toBeNull();
    expect(core.resyncs).toBe(1);
  });

  it("reads the tables of a server with schema version 3", () => {
    const core = seated();
    expect(core.receive(tableState(70_000), 0)).toMatchObject({ type: "state", tick: 70_000, isKeyframe: true });
    expect(core.receive(tableAck(70_000, 90_000), 0)).toEqual({ type: "acknowledged", tick: 70_000, seq: 90_000 });
  });
});

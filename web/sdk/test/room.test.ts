/** Tests rooms with the types of a game: commands, events, inputs, and the end of a room. Lines below `@ts-expect-error` are
 * type tests: `npm run check` fails if the compiler accepts them. */

import { beforeEach, describe, expect, expectTypeOf, it, vi } from "vitest";

import type { Client } from "../src/client.js";
import { ClientBody } from "../src/generated/tickwire/client-body";
import { Command } from "../src/generated/tickwire/command";
import { ErrorCode } from "../src/generated/tickwire/error-code";
import { decode } from "../src/msgpack.js";
import type { Room } from "../src/room.js";
import { event, FakeSocket, joined, joinedIn, left, newest, noReply, open, reply, resumes, seated, settle } from "./fakes.js";

interface GardenRoom {
  options: { nickname: string; seeds?: number };
  inputs: { dx?: number };
  tables: { flowers: { x: number; label: string } };
  commands: {
    plant(args: { x: number; colour?: "red" | "blue" }): Promise<number>;
    planted(): Promise<number>;
  };
  events: { said: number; grown: { flower: number } };
}

interface Rooms {
  garden: GardenRoom;
  lobby: { options: { name?: string }; inputs: {}; tables: {}; commands: {}; events: {} };
}

beforeEach(() => {
  FakeSocket.all = [];
  vi.useFakeTimers();
  return () => vi.useRealTimers();
});

async function inGarden(): Promise<{ client: Client<Rooms>; room: Room<GardenRoom> }> {
  const client: Client<Rooms> = await open();
  const joining = client.join("garden", { options: { nickname: "ann" } });
  newest().says(joined);
  return { client, room: await joining };
}

function sent(): [string | null, unknown][] {
  return newest()
    .all(ClientBody.Command, () => new Command())
    .map((command) => [command.name(), decode(command.payloadArray()!)]);
}

describe("a room", () => {
  it("has the values of Joined, and is the client's room", async () => {
    const { client, room } = await inGarden();
    expect([room.roomId, room.roomType, room.tickRateHz, room.isJoined]).toEqual(["room-1", "garden", 20, true]);
    expect(client.room).toBe(room);
  });

  it("runs a command by its name, and returns the result", async () => {
    const { room } = await inGarden();
    const answers = [room.commands.plant({ x: 7.5, colour: undefined }), room.commands.planted()];
    await settle();
    expect(sent()).toEqual([["plant", { x: 7.5 }], ["planted", null]]);
    newest().says(reply(1, 12));
    newest().says(reply(2, 1));
    expect(await Promise.all(answers)).toEqual([12, 1]);
  });

  it("rejects a command with the server's error code", async () => {
    const { room } = await inGarden();
    const answer = expect(room.commands.plant({ x: 1 })).rejects.toMatchObject({ name: "CommandFailed", code: "COMMAND_FAILED" });
    await settle();
    newest().says(noReply(1, ErrorCode.COMMAND_FAILED, 0));
    await answer;
  });

  it("may be returned by an asynchronous function, as may its commands", async () => {
    const { room } = await inGarden();
    expect(await (async () => room.commands)()).toBe(room.commands);
    expect(sent()).toEqual([]);
  });

  it("passes events to the listeners of their names", async () => {
    const { client, room } = await inGarden();
    const all: unknown[] = [];
    const said: number[] = [];
    client.on("event", (value) => all.push(value));
    room.on("grown", () => said.push(-1));
    const end = room.on("said", (value) => said.push(value));
    newest().says(event(1));
    await settle();
    newest().says(event(2));
    end();
    newest().says(event(3));
    expect([said, all.length]).toEqual([[1, 2], 3]);
  });

  it("reports an exception of a listener as the client does", async () => {
    const { client, room } = await inGarden();
    const reported: unknown[] = [];
    client.on("error", (value) => reported.push(value));
    const mistake = new Error("a mistake of the game");
    room.on("said", () => {
      throw mistake;
    });
    await settle();
    newest().says(event(1));
    expect(reported).toEqual([{ error: mistake, event: "said" }]);
  });

  it("is the same object after it has moved to another shard", async () => {
    const { client, room } = await inGarden();
    const said: number[] = [];
    room.on("said", (value) => said.push(value));
    await resumes();
    newest().says(joined);
    newest().says(event(1));
    expect([client.room === room, room.isJoined, said]).toEqual([true, true, [1]]);
  });

  it("ends when the client leaves: its commands are rejected and its inputs are not sent", async () => {
    const { client, room } = await inGarden();
    await settle();
    newest().says(left);
    expect([client.room, room.isJoined, room.sendInput({ dx: 1 })]).toEqual([null, false, 0]);
    await expect(room.commands.planted()).rejects.toThrow("has left the room");
    expect(() => room.table("flowers")).toThrow("has left the room");
  });

  it("does not act in the next room", async () => {
    const { client, room } = await inGarden();
    const said = vi.fn();
    room.on("said", said);
    await settle();
    newest().says(left);
    const joining = client.join("lobby");
    newest().says(joinedIn("room-2"));
    const next = await joining;
    await settle();
    newest().says(event(1));
    await expect(room.commands.planted()).rejects.toThrow("has left the room");
    expect([client.room === next, room.isJoined, room.sendInput({}), said.mock.calls, sent()]).toEqual([true, false, 0, [], []]);
  });
});

describe("the types of a game", () => {
  it("apply to a room and to everything in it", async () => {
    const { room } = await inGarden();
    expectTypeOf(room.commands.plant).returns.toEqualTypeOf<Promise<number>>();
    const label = () => room.table("flowers").value(1, "label");
    expectTypeOf(label).returns.toEqualTypeOf<string | undefined>();
    room.on("grown", (payload) => expectTypeOf(payload).toEqualTypeOf<{ flower: number }>());
  });

  it("do not apply to a client without type arguments", async () => {
    const client = await seated();
    const wrong = () => client.room!.commands.anything({ at: "all" });
    expectTypeOf(wrong).returns.toBeAny();
  });

  it("refuse mistakes", () => {
    // Compiled, but never called.
    const mistakes = async (client: Client<Rooms>, room: Room<GardenRoom>) => {
      // @ts-expect-error: an argument of another type
      void room.commands.plant({ x: "7" });
      // @ts-expect-error: a required argument is missing
      void room.commands.plant({});
      // @ts-expect-error: an unknown argument
      void room.commands.plant({ x: 1, size: 2 });
      // @ts-expect-error: a label that is not one of the choices
      void room.commands.plant({ x: 1, colour: "green" });
      // @ts-expect-error: a command without arguments
      void room.commands.planted({ x: 1 });
      // @ts-expect-error: an unknown command
      void room.commands.water();
      // @ts-expect-error: a result of another type
      const text: string = await room.commands.planted();
      // @ts-expect-error: an unknown event
      room.on("withered", () => text);
      // @ts-expect-error: a field that the event does not have
      room.on("grown", ({ colour }) => colour);
      // @ts-expect-error: an unknown input
      room.sendInput({ dy: 1 });
      // @ts-expect-error: an unknown table
      room.table("trees");
      // @ts-expect-error: a field that the table does not have
      room.table("flowers").value(1, "colour");
      // @ts-expect-error: an unknown room type
      void client.join("desert");
      // @ts-expect-error: options are required
      void client.join("garden");
      // @ts-expect-error: a required option is missing
      void client.join("garden", { options: { seeds: 3 } });
      // @ts-expect-error: an option of another type
      void client.join("garden", { options: { nickname: 7 } });
      void client.join("lobby");
    };
    expect(mistakes).toBeTypeOf("function");
  });
});

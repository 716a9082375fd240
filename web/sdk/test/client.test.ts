/** The client against a socket that a test holds: what it says, what it waits for, how it comes back. */

import { Builder, ByteBuffer } from "flatbuffers";
import { beforeEach, describe, expect, it, vi } from "vitest";

import { Client, type Socket } from "../src/client.js";
import { ClientBody } from "../src/generated/tickwire/client-body";
import { ClientMessage } from "../src/generated/tickwire/client-message";
import { Command } from "../src/generated/tickwire/command";
import { ErrorCode } from "../src/generated/tickwire/error-code";
import { Event } from "../src/generated/tickwire/event";
import { Hello } from "../src/generated/tickwire/hello";
import { Joined } from "../src/generated/tickwire/joined";
import { Redirect } from "../src/generated/tickwire/redirect";
import { Reply } from "../src/generated/tickwire/reply";
import { ServerBody } from "../src/generated/tickwire/server-body";
import { ServerMessage } from "../src/generated/tickwire/server-message";
import { StateDescription } from "../src/generated/tickwire/state-description";
import { Welcome } from "../src/generated/tickwire/welcome";
import { encode } from "../src/msgpack.js";

class FakeSocket implements Socket {
  static all: FakeSocket[] = [];
  binaryType = "arraybuffer";
  readyState = 0;
  onopen: any = null;
  onmessage: any = null;
  onclose: any = null;
  onerror: any = null;
  sent: Uint8Array[] = [];

  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }
  send(data: Uint8Array): void {
    this.sent.push(data.slice());
  }
  close(): void {
    this.readyState = 3;
  }
  opens(): void {
    this.readyState = 1;
    this.onopen?.({});
  }
  says(data: Uint8Array): void {
    this.onmessage?.({ data: data.slice().buffer });
  }
  ends(code: number, reason = ""): void {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
  /** What was sent, by kind. */
  kinds(): string[] {
    return this.sent.map((data) => ClientBody[ClientMessage.getRootAsClientMessage(new ByteBuffer(data)).bodyType()]!);
  }
  last<T>(kind: ClientBody, body: T): T {
    const found = this.sent
      .filter((data) => ClientMessage.getRootAsClientMessage(new ByteBuffer(data)).bodyType() === kind)
      .at(-1)!;
    return ClientMessage.getRootAsClientMessage(new ByteBuffer(found)).body(body as any);
  }
}

function message(type: ServerBody, write: (builder: Builder) => number): Uint8Array {
  const builder = new Builder(64);
  const body = write(builder);
  ServerMessage.startServerMessage(builder);
  ServerMessage.addBodyType(builder, type);
  ServerMessage.addBody(builder, body);
  builder.finish(ServerMessage.endServerMessage(builder));
  return builder.asUint8Array();
}

function welcome(generation: number, token: string, roomId = ""): Uint8Array {
  return message(ServerBody.Welcome, (builder) => {
    const [resumeToken, room] = [builder.createString(token), builder.createString(roomId)];
    Welcome.startWelcome(builder);
    Welcome.addResumeToken(builder, resumeToken);
    Welcome.addHeartbeatIntervalMs(builder, 15_000);
    Welcome.addGeneration(builder, generation);
    Welcome.addRoomId(builder, room);
    return Welcome.endWelcome(builder);
  });
}

const joined = message(ServerBody.Joined, (builder) => {
  const [id, type] = [builder.createString("room-1"), builder.createString("garden")];
  StateDescription.startStateDescription(builder);
  const description = StateDescription.endStateDescription(builder);
  Joined.startJoined(builder);
  Joined.addRoomId(builder, id);
  Joined.addRoomType(builder, type);
  Joined.addTickRateHz(builder, 20);
  Joined.addDescription(builder, description);
  return Joined.endJoined(builder);
});

function reply(id: bigint, payload: unknown, ok = true, error = ErrorCode.INTERNAL): Uint8Array {
  return message(ServerBody.Reply, (builder) => {
    const bytes = Reply.createPayloadVector(builder, encode(payload));
    Reply.startReply(builder);
    Reply.addId(builder, id);
    Reply.addOk(builder, ok);
    Reply.addError(builder, error);
    Reply.addPayload(builder, bytes);
    return Reply.endReply(builder);
  });
}

function redirect(url: string, isResume: boolean, ticket = ""): Uint8Array {
  return message(ServerBody.Redirect, (builder) => {
    const [to, shown, type] = [url, ticket, "garden"].map((text) => builder.createString(text)) as [number, number, number];
    return Redirect.createRedirect(builder, to, shown, type, 0, isResume);
  });
}

function event(number: number): Uint8Array {
  return message(ServerBody.Event, (builder) => {
    const name = builder.createString("said");
    return Event.createEvent(builder, number, name, Event.createPayloadVector(builder, encode(number)));
  });
}

const newest = () => FakeSocket.all.at(-1)!;

/** Lets what waits for promises go on. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 8; turn++) await Promise.resolve();
}

async function open(): Promise<Client> {
  const client = new Client("ws://home/", { socket: (url) => new FakeSocket(url), token: () => "jwt" });
  const opened = client.open();
  await settle();
  newest().opens();
  newest().says(welcome(1, "token-1"));
  await opened;
  return client;
}

async function seated(): Promise<Client> {
  const client = await open();
  const joining = client.join("garden");
  newest().says(joined);
  await joining;
  return client;
}

describe("the client", () => {
  beforeEach(() => {
    FakeSocket.all = [];
    vi.useFakeTimers();
    return () => vi.useRealTimers();
  });

  it("says Hello with its token, and at once that the Welcome has arrived", async () => {
    await open();
    expect(newest().kinds()).toEqual(["Hello", "Ping"]);
    expect(newest().last(ClientBody.Hello, new Hello()).token()).toBe("jwt");
  });

  it("resumes after a loss, and asks again for what was not answered", async () => {
    const client = await seated();
    const answer = client.command("plant", { x: 1 });
    const told: boolean[] = [];
    client.on("back", ({ isSameSession }) => told.push(isSameSession));
    newest().ends(1006);
    expect(client.state).toBe("away");
    await vi.advanceTimersByTimeAsync(300);
    newest().opens();
    const hello = newest().last(ClientBody.Hello, new Hello());
    expect([hello.resumeToken(), hello.roomId(), hello.attempt()]).toEqual(["token-1", "room-1", 2]);
    newest().says(welcome(2, "token-2", "room-1"));
    const again = newest().last(ClientBody.Command, new Command());
    expect([again.id(), again.name()]).toEqual([1n, "plant"]);
    newest().says(reply(1n, "done"));
    expect(await answer).toBe("done");
    expect([client.resumes, client.sessionsLost, told]).toEqual([1, 0, [true]]);
  });

  it("says so when the session was not kept, and what was asked has no answer", async () => {
    const client = await seated();
    const answer = expect(client.command("plant")).rejects.toThrow(/lost/);
    const left = vi.fn();
    client.on("left", left);
    newest().ends(1006);
    await vi.advanceTimersByTimeAsync(300);
    newest().opens();
    newest().says(welcome(1, "token-9"));
    await answer;
    expect([client.sessionsLost, client.room, left.mock.calls.length]).toEqual([1, null, 1]);
  });

  it("asks again for a command whose answer decides nothing", async () => {
    const client = await seated();
    const answer = client.command("earn");
    newest().says(reply(1n, null, false, ErrorCode.UNAVAILABLE));
    await vi.advanceTimersByTimeAsync(600);
    expect(newest().kinds().filter((kind) => kind === "Command")).toHaveLength(2);
    newest().says(reply(1n, 5));
    expect(await answer).toBe(5);
  });

  it("follows a room that moves, with the same session", async () => {
    const client = await seated();
    newest().says(redirect("ws://other/", true));
    newest().ends(4003);
    await vi.advanceTimersByTimeAsync(1);
    expect(newest().url).toBe("ws://other/");
    newest().opens();
    expect(newest().last(ClientBody.Hello, new Hello()).resumeToken()).toBe("token-1");
    newest().says(welcome(2, "token-2", "room-1"));
    await settle();
    expect([client.state, client.resumes, client.address]).toEqual(["open", 1, "ws://other/"]);
  });

  it("takes a seat elsewhere with a ticket, and a new session there", async () => {
    const client = await open();
    const joining = client.join("garden");
    newest().says(redirect("ws://other/", false, "ticket-1"));
    await settle();
    newest().opens();
    expect(newest().last(ClientBody.Hello, new Hello()).resumeToken()).toBe("");
    newest().says(welcome(1, "token-2"));
    await settle();
    expect(newest().kinds()).toContain("Join");
    newest().says(joined);
    expect((await joining).roomId).toBe("room-1");
  });

  it("asks again for a seat when the connection was lost before the answer", async () => {
    const client = await open();
    const joining = client.join("garden");
    newest().ends(1006);
    await vi.advanceTimersByTimeAsync(300);
    newest().opens();
    newest().says(welcome(2, "token-2"));
    expect(newest().kinds().filter((kind) => kind === "Join")).toHaveLength(1);
    newest().says(joined);
    expect((await joining).roomId).toBe("room-1");
  });

  it("does not ask again for a seat that it has been given meanwhile", async () => {
    const client = await open();
    const joining = client.join("garden");
    newest().ends(1006);
    await vi.advanceTimersByTimeAsync(300);
    newest().opens();
    newest().says(welcome(2, "token-2", "room-1"));
    expect(newest().kinds()).not.toContain("Join");
    newest().says(joined);
    expect((await joining).roomId).toBe("room-1");
  });

  it("comes back to where it began when a Redirect leads nowhere, and asks there again", async () => {
    const client = await open();
    const joining = client.join("garden");
    newest().says(redirect("ws://other/", false, "ticket-1"));
    await settle();
    expect(newest().url).toBe("ws://other/");
    newest().ends(1006);
    await settle();
    expect(newest().url).toBe("ws://home/");
    newest().opens();
    newest().says(welcome(1, "token-3"));
    await settle();
    newest().says(joined);
    expect((await joining).roomId).toBe("room-1");
    expect([client.state, client.address]).toEqual(["open", "ws://home/"]);
  });

  it("never sends its token over a plain connection when it came over TLS", async () => {
    const client = new Client("wss://home/", { socket: (url) => new FakeSocket(url) });
    const opened = client.open();
    await settle();
    newest().opens();
    newest().says(welcome(1, "t"));
    await opened;
    const joining = expect(client.join("garden")).rejects.toThrow(/plain/);
    newest().says(redirect("ws://other/", false, "ticket-1"));
    await joining;
    expect(FakeSocket.all).toHaveLength(1);
  });

  it.each([4500, 4501, 4502, 4504, 4505, 1008])("does not come back after %i", async (code) => {
    const client = await seated();
    const closed = vi.fn();
    client.on("closed", closed);
    newest().ends(code, "no");
    await vi.advanceTimersByTimeAsync(60_000);
    expect([client.state, closed.mock.calls.length, FakeSocket.all.length]).toEqual(["closed", 1, 1]);
  });

  it("gives an event once and in order, however often it is said", async () => {
    const client = await seated();
    const heard: unknown[] = [];
    client.on("event", ({ payload }) => heard.push(payload));
    for (const number of [1, 2, 2, 1, 3]) newest().says(event(number));
    expect(heard).toEqual([1, 2, 3]);
    expect([client.core.eventsRepeated, client.core.eventsMissed]).toEqual([2, 0]);
  });

  it("tries for as long as it was told to, ever more seldom", async () => {
    const client = await seated();
    newest().ends(1006);
    for (let second = 0; second < 100; second++) {
      await vi.advanceTimersByTimeAsync(1000);
      if (newest().readyState === 0) newest().ends(1006);
    }
    expect(client.state).toBe("closed");
    expect(FakeSocket.all.length).toBeGreaterThan(5);
    expect(FakeSocket.all.length).toBeLessThan(40);
  });
});

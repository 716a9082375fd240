/** Tests the client on a fake socket: the messages that it sends, its requests, and its listeners. */

import { beforeEach, describe, expect, it, vi } from "vitest";

import { Client, type Events } from "../src/client.js";
import { ClientBody } from "../src/generated/tickwire/client-body";
import { Command } from "../src/generated/tickwire/command";
import { ErrorCode } from "../src/generated/tickwire/error-code";
import { Hello } from "../src/generated/tickwire/hello";
import { Join } from "../src/generated/tickwire/join";
import { ListRooms } from "../src/generated/tickwire/list-rooms";
import { QueueState } from "../src/generated/tickwire/queue-state";
import { decode } from "../src/msgpack.js";
import { Prediction } from "../src/prediction.js";
import type { World } from "../src/world.js";
import {
  ack,
  event,
  FakeSocket,
  joined,
  joinedIn,
  left,
  match,
  newest,
  noReply,
  open,
  redirect,
  refusal,
  reply,
  resumes,
  roomList,
  seated,
  settle,
  state,
  welcome,
} from "./fakes.js";

beforeEach(() => {
  FakeSocket.all = [];
  vi.useFakeTimers();
  return () => vi.useRealTimers();
});

describe("the client", () => {
  it("sends Hello with its token, and confirms the Welcome with a ping", async () => {
    await open();
    expect(newest().kinds()).toEqual(["Hello", "Ping"]);
    expect(newest().last(ClientBody.Hello, new Hello()).token()).toBe("jwt");
  });

  it("resumes after a lost connection, and sends unanswered commands again", async () => {
    const client = await seated();
    const answer = client.command("plant", { x: 1 });
    const resumed: boolean[] = [];
    client.on("reconnected", ({ isSameSession }) => resumed.push(isSameSession));
    newest().ends(1006);
    expect(client.state).toBe("reconnecting");
    await vi.advanceTimersByTimeAsync(300);
    newest().opens();
    const hello = newest().last(ClientBody.Hello, new Hello());
    expect([hello.resumeToken(), hello.roomId(), hello.attempt()]).toEqual(["token-1", "room-1", 2]);
    newest().says(welcome(2, "token-2", { roomId: "room-1" }));
    const again = newest().last(ClientBody.Command, new Command());
    expect([again.id(), again.name()]).toEqual([1n, "plant"]);
    newest().says(reply(1n, "done"));
    expect(await answer).toBe("done");
    expect([client.resumes, client.sessionsLost, resumed]).toEqual([1, 0, [true]]);
  });

  it("reports a lost session, and rejects its commands", async () => {
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

  it("lists open rooms, one request at a time", async () => {
    const client = await seated();
    const first = client.listRooms("garden", { labels: { map: "ice" }, limit: 2 });
    const second = expect(client.listRooms("garden")).rejects.toThrow(/RATE_LIMITED/);
    const third = client.listRooms("garden");
    await vi.advanceTimersByTimeAsync(0);
    const request = newest().last(ClientBody.ListRooms, new ListRooms());
    expect([request.id(), request.roomType(), decode(request.labelsArray()!), request.limit()]).toEqual([1, "garden", { map: "ice" }, 2]);
    newest().says(roomList(1, ["room-7"], { map: "ice" }));
    expect(await first).toEqual([{ roomId: "room-7", players: 3, maxPlayers: 8, labels: { map: "ice" } }]);
    await vi.advanceTimersByTimeAsync(0);
    newest().says(refusal(ErrorCode.RATE_LIMITED, ClientBody.ListRooms, 1000));
    await second;
    await vi.advanceTimersByTimeAsync(0);
    newest().says(roomList(3, [], {}));
    expect(await third).toEqual([]);
  });

  it("reports why its seat was lost while it was disconnected", async () => {
    const client = await seated();
    const left = vi.fn();
    client.on("left", left);
    newest().ends(1006);
    await vi.advanceTimersByTimeAsync(300);
    newest().opens();
    newest().says(welcome(2, "token-2", { leftReason: "you were idle" }));
    expect(left.mock.calls).toEqual([[{ reason: "you were idle" }]]);
  });

  it("sends a command again when the reply says that the outcome is unknown", async () => {
    const client = await seated();
    const answer = client.command("earn");
    newest().says(noReply(1, ErrorCode.UNAVAILABLE, 500));
    await vi.advanceTimersByTimeAsync(499);
    expect(newest().commands()).toEqual([1]);
    await vi.advanceTimersByTimeAsync(500 / 4 + 1); // many clients receive the same advice: each adds up to a quarter
    expect(newest().commands()).toEqual([1, 1]);
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
    newest().says(welcome(2, "token-2", { roomId: "room-1" }));
    await settle();
    expect([client.state, client.resumes, client.url]).toEqual(["connected", 1, "ws://other/"]);
  });

  it("joins on another shard with a ticket, in a new session", async () => {
    const client = await open();
    const joining = client.join("garden");
    newest().says(redirect("ws://other/", false, "ticket-1"));
    await settle();
    newest().opens();
    expect(newest().last(ClientBody.Hello, new Hello()).resumeToken()).toBeNull();
    newest().says(welcome(1, "token-2"));
    await settle();
    expect(newest().kinds()).toContain("Join");
    newest().says(joined);
    expect((await joining).roomId).toBe("room-1");
  });

  it("enters the room to which its room moves the player, on another shard", async () => {
    const client = await seated();
    const seen: unknown[] = [];
    client.on("left", ({ reason }) => seen.push(reason));
    client.on("joined", ({ roomId }) => seen.push(roomId));
    newest().says(redirect("ws://other/", false, "ticket-1"));
    await settle();
    expect(client.room?.roomId).toBe("room-1");
    expect(FakeSocket.all).toHaveLength(1);
    newest().says(left);
    await settle();
    newest().opens();
    newest().says(welcome(1, "token-2"));
    await settle();
    expect(newest().last(ClientBody.Join, new Join()).ticket()).toBe("ticket-1");
    newest().says(joinedIn("room-2"));
    await settle();
    expect([client.url, client.room?.roomId]).toEqual(["ws://other/", "room-2"]);
    expect(seen).toEqual(["closed", "room-2"]);
  });

  it("enters the room to which its room moves the player, on the same shard", async () => {
    const client = await seated();
    newest().says(left);
    newest().says(joinedIn("room-2"));
    expect(client.room?.roomId).toBe("room-2");
    expect(newest().kinds().filter((kind) => kind === "Join")).toHaveLength(1);
  });

  it("sends a join again when the connection was lost before the answer", async () => {
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

  it("does not send a join again when the session already has a seat", async () => {
    const client = await open();
    const joining = client.join("garden");
    newest().ends(1006);
    await vi.advanceTimersByTimeAsync(300);
    newest().opens();
    newest().says(welcome(2, "token-2", { roomId: "room-1" }));
    expect(newest().kinds()).not.toContain("Join");
    newest().says(joined);
    expect((await joining).roomId).toBe("room-1");
  });

  it("returns to its initial URL when a Redirect leads to an unreachable shard, and joins from there", async () => {
    const client = await open();
    const joining = client.join("garden");
    newest().says(redirect("ws://other/", false, "ticket-1"));
    await settle();
    expect(newest().url).toBe("ws://other/");
    newest().ends(1006);
    await vi.advanceTimersByTimeAsync(250);
    expect(newest().url).toBe("ws://initial/");
    newest().opens();
    newest().says(welcome(1, "token-3"));
    await vi.advanceTimersByTimeAsync(250);
    newest().says(joined);
    expect((await joining).roomId).toBe("room-1");
    expect([client.state, client.url]).toEqual(["connected", "ws://initial/"]);
  });

  it("never sends its token over a plain connection after a connection over TLS", async () => {
    const client = new Client("wss://initial/", { socket: (url) => new FakeSocket(url) });
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

  it("delivers each event once and in order, also when it is repeated", async () => {
    const client = await seated();
    const received: unknown[] = [];
    client.on("event", ({ payload }) => received.push(payload));
    for (const number of [1, 2, 2, 1, 3]) newest().says(event(number));
    expect(received).toEqual([1, 2, 3]);
    expect([client.core.eventsRepeated, client.core.eventsMissed]).toEqual([2, 0]);
  });

});

/** A client whose join got no answer in time. */
async function abandonedJoin(): Promise<Client> {
  const client = await open();
  const joining = expect(client.join("garden")).rejects.toThrow(/in time/);
  await vi.advanceTimersByTimeAsync(15_000);
  await joining;
  return client;
}

describe("a request", () => {
  it("is not ended by an Error that answers another message", async () => {
    const client = await open();
    const refused = vi.fn();
    client.on("refused", refused);
    const matching = client.match("duel");
    newest().says(match(QueueState.WAITING));
    newest().says(refusal(ErrorCode.RATE_LIMITED, ClientBody.Input, 1000));
    newest().says(refusal(ErrorCode.OUT_OF_ORDER, ClientBody.Join));
    newest().says(match(QueueState.FOUND));
    newest().says(redirect("", false, "ticket-1"));
    await settle();
    newest().says(joined);
    expect((await matching).roomId).toBe("room-1");
    expect(refused).toHaveBeenCalledTimes(2);
  });

  it("is ended by the Error that answers it", async () => {
    const client = await open();
    const joining = expect(client.join("garden")).rejects.toMatchObject({ code: "ROOM_FULL", name: "Refused" });
    newest().says(refusal(ErrorCode.ROOM_FULL, ClientBody.Join));
    await joining;
  });

  it("to leave waits for the join before it, and a join for the leave", async () => {
    const client = await open();
    const ends: string[] = [];
    for (const [name, end] of [
      ["join", client.join("garden")],
      ["leave", client.leave()],
      ["join again", client.join("garden")],
    ] as const) {
      void end.then(() => ends.push(name));
    }
    expect(newest().kinds().slice(2)).toEqual(["Join"]);
    newest().says(joined);
    await settle();
    expect(newest().kinds().slice(2)).toEqual(["Join", "Leave"]);
    newest().says(left);
    await settle();
    newest().says(joinedIn("room-2"));
    await settle();
    expect([ends, client.room!.roomId]).toEqual([["join", "leave", "join again"], "room-2"]);
  });

  it("to join releases a seat that arrives after the request was abandoned", async () => {
    const client = await open();
    const joining = expect(client.join("garden")).rejects.toThrow(/in time/);
    await vi.advanceTimersByTimeAsync(15_000);
    await joining;
    newest().says(joined);
    expect(newest().kinds().at(-1)).toBe("Leave");
  });

  it("to join waits for the answer to an abandoned one, whose seat is released first", async () => {
    const client = await abandonedJoin();
    const joining = client.join("meadow");
    await settle();
    expect(newest().count("Join")).toBe(1);
    newest().says(joined);
    await settle();
    expect(newest().kinds().slice(-2)).toEqual(["Leave", "Join"]);
    newest().says(left);
    newest().says(joinedIn("room-2"));
    expect((await joining).roomId).toBe("room-2");
    expect(client.room!.roomId).toBe("room-2");
  });

  it.each([
    ["refused", () => newest().says(refusal(ErrorCode.ROOM_FULL, ClientBody.Join))],
    ["redirected", () => newest().says(redirect("ws://other/", false, "ticket-1"))],
    ["forgotten by a server that did not receive it", () => resumes(2, {})],
  ])("to join is sent after an abandoned one was %s", async (_, happens) => {
    const client = await abandonedJoin();
    const joining = client.join("meadow");
    newest().says(refusal(ErrorCode.RATE_LIMITED, ClientBody.Input));
    await settle();
    expect(newest().count("Join")).toBe(1);
    await happens();
    await settle();
    expect(newest().kinds().filter((kind) => kind !== "Ping").at(-1)).toBe("Join");
    newest().says(joinedIn("room-2"));
    expect((await joining).roomId).toBe("room-2");
    expect(newest().kinds()).not.toContain("Leave");
  });

  it.each([
    ["stays", []],
    ["moves to another shard", [joined]],
  ])("to join from a seat is sent again after a reconnect, and refused, if the room %s", async (_, messages) => {
    const client = await seated();
    const joining = expect(client.join("meadow")).rejects.toMatchObject({ code: "OUT_OF_ORDER" });
    await resumes();
    expect(newest().count("Join")).toBe(1);
    for (const message of messages) newest().says(message);
    newest().says(refusal(ErrorCode.OUT_OF_ORDER, ClientBody.Join));
    await joining;
    expect(client.room!.roomId).toBe("room-1");
  });

  it.each([
    ["has resumed", () => resumes()],
    ["has not resumed", async () => undefined],
  ])("to join that was abandoned in a seat keeps the seat of a room that moves, if the client %s", async (_, happens) => {
    const client = await seated();
    const joining = expect(client.join("meadow")).rejects.toThrow(/in time/);
    await vi.advanceTimersByTimeAsync(15_000);
    await joining;
    await happens();
    newest().says(joined);
    expect(newest().kinds()).not.toContain("Leave");
    expect(client.room!.roomId).toBe("room-1");
    if (client.resumes === 0) await resumes();
    const next = expect(client.join("meadow")).rejects.toMatchObject({ code: "OUT_OF_ORDER" });
    await settle();
    expect(newest().kinds().at(-1)).toBe("Join");
    newest().says(refusal(ErrorCode.OUT_OF_ORDER, ClientBody.Join));
    await next;
  });

  it.each([{ roomId: "room-1" }, { isJoining: true }])("to join that was abandoned releases its seat after a resume with %o", async (fields) => {
    await abandonedJoin();
    await resumes(2, fields);
    newest().says(joined);
    expect(newest().kinds().at(-1)).toBe("Leave");
  });

  it("keeps the seat that moves to another shard with its room", async () => {
    await seated();
    await resumes();
    newest().says(joined);
    expect(newest().kinds()).not.toContain("Leave");
  });
});

describe("a join that is redirected to a dead shard", () => {
  const untilSeated = async (seconds: number) => {
    const client = await open();
    const joining = client.join("garden").then(() => "joined", (error) => error.message);
    let ended = "";
    void joining.then((how) => (ended = how));
    for (let ms = 0; ms < 45_000 && !ended; ms += 50) {
      const socket = newest();
      if (socket.readyState === 0 && socket.url === "ws://dead/") socket.ends(1006);
      else if (socket.readyState === 0) {
        socket.opens();
        socket.says(welcome(1, "token-n"));
      } else if (socket.kinds().includes("Join")) { // a Ping may have been sent since
        socket.sent.length = 0;
        socket.says(ms < seconds * 1000 ? redirect("ws://dead/", false, "ticket") : joined);
      }
      await vi.advanceTimersByTimeAsync(50);
    }
    return ended;
  };

  it("is repeated at the initial URL, with growing pauses, until the directory has dropped the shard", async () => {
    expect(await untilSeated(8)).toBe("joined");
    expect(FakeSocket.all.length).toBeGreaterThan(6);
    expect(FakeSocket.all.length).toBeLessThan(30);
  });

  it("fails when the directory keeps the shard", async () => {
    expect(await untilSeated(60)).toBe("the room's shard, ws://dead/, cannot be reached");
  });
});

describe("a match", () => {
  it.each([
    ["the mode is unknown", () => newest().says(refusal(ErrorCode.NO_SUCH_MODE, ClientBody.MatchRequest)), "Refused"],
    ["the time is over, and the queue does not answer", () => vi.advanceTimersByTime(6000), "TimeoutError"],
  ])("leaves the queue when %s", async (_, happens, name) => {
    const client = await open();
    const matching = expect(client.match("duel", {}, 1000)).rejects.toMatchObject({ name });
    newest().says(match(QueueState.WAITING));
    happens();
    await matching;
    expect(newest().kinds().filter((kind) => kind !== "Ping").at(-1)).toBe("MatchCancel");
  });

  it("ends when the queue times out", async () => {
    const client = await open();
    const matching = expect(client.match("duel")).rejects.toMatchObject({ name: "NotMatched", state: "timed_out" });
    newest().says(match(QueueState.WAITING));
    newest().says(match(QueueState.TIMED_OUT));
    await matching;
    expect(newest().kinds()).not.toContain("MatchCancel"); // the server has ended the wait
  });

  it("that times out ends when the queue confirms the cancellation", async () => {
    const client = await open();
    const matching = expect(client.match("duel", {}, 1000)).rejects.toThrow(/no match was found within 1 s/);
    newest().says(match(QueueState.WAITING));
    vi.advanceTimersByTime(1000);
    expect(newest().kinds().at(-1)).toBe("MatchCancel");
    newest().says(match(QueueState.CANCELLED));
    await matching;
  });

  it.each([
    ["its time was over", (_: Client) => vi.advanceTimersByTime(1000)],
    ["it was cancelled", (client: Client) => client.cancelMatch()],
  ])("that was final before %s is joined", async (_, happens) => {
    const client = await open();
    const matching = client.match("duel", {}, 1000);
    newest().says(match(QueueState.WAITING));
    happens(client);
    newest().says(match(QueueState.FOUND));
    newest().says(redirect("", false, "ticket-1"));
    await settle();
    newest().says(joined);
    expect((await matching).roomId).toBe("room-1");
  });

  it("that was found before a late cancellation does not use the Redirect of a later join", async () => {
    const client = await open();
    client.cancelMatch();
    const joining = client.join("garden");
    newest().says(match(QueueState.FOUND, "duel", "the match was final before"));
    newest().says(redirect("", false, "of the join"));
    await settle();
    expect(newest().count("Join")).toBe(2);
    newest().says(joined);
    expect((await joining).roomId).toBe("room-1");
  });

  it("ends when a match in another mode is found", async () => {
    const client = await open();
    const matching = expect(client.match("duel")).rejects.toMatchObject({ name: "NotMatched" });
    newest().says(match(QueueState.FOUND, "versus"));
    await matching;
  });

  it("whose seat was refused does not pass its Redirect to a later join", async () => {
    const client = await open();
    const matching = expect(client.match("duel")).rejects.toMatchObject({ code: "NO_SUCH_ROOM" });
    newest().says(match(QueueState.WAITING));
    newest().says(match(QueueState.FOUND));
    newest().says(redirect("", false, "ticket-1"));
    await settle();
    newest().says(refusal(ErrorCode.NO_SUCH_ROOM, ClientBody.Join));
    await matching;
    const joining = client.join("garden");
    newest().says(match(QueueState.FOUND));
    newest().says(redirect("ws://other/", false, "ticket-1"));
    newest().says(joined);
    expect((await joining).roomId).toBe("room-1");
    expect(newest().url).toBe("ws://initial/");
  });

  it("that was abandoned while disconnected leaves the queue after the reconnect", async () => {
    const client = await open();
    const matching = expect(client.match("duel", {}, 100)).rejects.toThrow(/in time/);
    newest().says(match(QueueState.WAITING));
    newest().ends(1006);
    await vi.advanceTimersByTimeAsync(6_500); // an attempt ends after 5 s
    await matching;
    newest().opens();
    newest().says(welcome(2, "token-2"));
    newest().says(match(QueueState.WAITING));
    expect(newest().kinds()).toContain("MatchCancel");
  });

  it("is not ended by the cancellation of the previous one", async () => {
    const client = await open();
    client.cancelMatch();
    const matching = client.match("duel");
    newest().says(match(QueueState.CANCELLED, ""));
    newest().says(match(QueueState.WAITING));
    newest().says(match(QueueState.FOUND));
    newest().says(redirect("", false, "ticket-1"));
    await settle();
    newest().says(joined);
    expect((await matching).roomId).toBe("room-1");
  });

  it("ends when it is cancelled", async () => {
    const client = await open();
    const matching = expect(client.match("duel")).rejects.toMatchObject({ name: "NotMatched" });
    newest().says(match(QueueState.WAITING));
    client.cancelMatch();
    newest().says(match(QueueState.CANCELLED, ""));
    await matching;
  });

  it("and a concurrent join do not use each other's Redirect", async () => {
    const client = await open();
    const matching = client.match("duel");
    newest().says(match(QueueState.WAITING));
    const joining = client.join("garden");
    newest().says(redirect("", false, "of the join"));
    await settle();
    newest().says(joined);
    await joining;
    newest().says(match(QueueState.FOUND));
    newest().says(redirect("", false, "of the match"));
    await settle();
    newest().says(left); // the client has left the room
    await settle();
    newest().says(joinedIn("room-2"));
    expect((await matching).roomId).toBe("room-2");
  });
});

describe("close", () => {
  it("ends the session at the server, with its seat and queue entry", async () => {
    const client = await seated();
    client.close();
    expect([newest().kinds().at(-1), newest().closedWith, client.state]).toEqual(["EndSession", 1000, "closed"]);
  });

  it("cancels a connection attempt at once", async () => {
    const client = new Client("ws://initial/", { socket: (url) => new FakeSocket(url) });
    const opening = expect(client.open()).rejects.toThrow(/closed/);
    await settle();
    client.close();
    await opening;
    expect(vi.getTimerCount()).toBe(0);
  });

  it("cancels a Redirect, and opens no session at its target", async () => {
    const client = await open();
    const joining = expect(client.join("garden")).rejects.toThrow(/closed/);
    newest().says(redirect("ws://other/", false, "ticket-1"));
    await settle();
    client.close();
    await joining;
    newest().opens();
    newest().says(welcome(1, "token-2"));
    expect([client.state, newest().kinds()]).toEqual(["closed", []]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("leaves no timer behind, so that the process can exit", async () => {
    const client = await seated();
    client.command("plant").catch(() => undefined);
    newest().says(refusal(ErrorCode.OUT_OF_ORDER, ClientBody.Join));
    client.close();
    await settle();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is sent to the old shard when a Redirect leaves a session", async () => {
    const client = await open();
    const [before] = FakeSocket.all;
    client.join("garden").catch(() => undefined);
    newest().says(redirect("ws://other/", false, "ticket-1"));
    await settle();
    expect([before!.kinds().at(-1), before!.closedWith]).toEqual(["EndSession", 1000]);
  });
});

describe("commands", () => {
  it("of a report send the player's words and return the number of the report", async () => {
    const client = await seated();
    const answer = client.report("he walks through walls");
    const sent = newest().last(ClientBody.Command, new Command());
    expect(sent.name()).toBe("tickwire.report");
    expect(decode(sent.payloadArray()!)).toEqual({ reason: "he walks through walls" });
    newest().says(reply(sent.id(), { report_id: "5f0c21aa", is_recorded: true }));
    expect(await answer).toEqual({ reportId: "5f0c21aa", isRecorded: true });
  });

  it("are all answered, 300 at once, within the server's rates", async () => {
    const client = await seated();
    const answers = Array.from({ length: 300 }, (_, at) => client.command("plant", at, 120_000));
    const socket = newest();
    let answered = 0;
    let perSecond = 0;
    for (let ms = 0; ms < 10_000; ms += 20) {
      const ids = socket.commands();
      for (; answered < ids.length; answered++) socket.says(reply(ids[answered]!, ids[answered]));
      if (ms % 1000 === 0) {
        expect(answered - perSecond).toBeLessThanOrEqual(121);
        perSecond = answered;
      }
      await vi.advanceTimersByTimeAsync(20);
    }
    expect(await Promise.all(answers)).toEqual(Array.from({ length: 300 }, (_, at) => at + 1));
    expect(socket.commands()).toEqual(Array.from({ length: 300 }, (_, at) => at + 1));
  });

  it("that a rate limit drops are sent again before the server discards their ids", async () => {
    const client = await seated({}, { messagesPerSecondMax: 10_000 });
    const answers = Array.from({ length: 40 }, (_, at) => client.command("plant", at));
    const socket = newest();
    const seen = new Set<number>();
    const tries = new Map<number, number>();
    let highest = 0;
    let read = 0;
    for (let ms = 0; ms < 120_000 && seen.size < 40; ms += 50) {
      const ids = socket.commands();
      for (; read < ids.length; read++) {
        const id = ids[read]!;
        expect(id).toBeGreaterThan(highest - 64); // otherwise the server refuses the id
        tries.set(id, (tries.get(id) ?? 0) + 1);
        if (tries.get(id)! <= (id * 7) % 5) socket.says(noReply(id, ErrorCode.RATE_LIMITED, 100));
        else {
          seen.add(id);
          highest = Math.max(highest, id);
          socket.says(reply(id, id));
        }
      }
      await vi.advanceTimersByTimeAsync(50);
    }
    expect(await Promise.all(answers)).toEqual(Array.from({ length: 40 }, (_, at) => at + 1));
  });

  it("issued while disconnected are sent after the reconnect, after those without a reply", async () => {
    const client = await seated();
    const first = client.command("plant");
    newest().ends(1006);
    const second = client.command("water");
    await vi.advanceTimersByTimeAsync(300);
    newest().opens();
    newest().says(welcome(2, "token-2", { roomId: "room-1" }));
    expect(newest().commands()).toEqual([1, 2]);
    newest().says(reply(2, "b"));
    newest().says(reply(1, "a"));
    expect(await Promise.all([first, second])).toEqual(["a", "b"]);
  });

  it("without a reply are sent again after 10 s", async () => {
    const client = await seated();
    const answer = client.command("plant", null, 20_000);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(newest().commands()).toEqual([1, 1]);
    newest().says(reply(1, 1));
    await answer;
  });

  it("that are larger than the server accepts are rejected and not sent", async () => {
    const client = await seated({}, { messageBytesMax: 1000 });
    await expect(client.command("plant", "x".repeat(1000))).rejects.toMatchObject({ name: "MessageTooLarge" });
    await expect(client.join("garden", { options: { text: "x".repeat(1000) } })).rejects.toThrow(/at most 1000/);
    await expect(client.join("garden", { name: "x".repeat(4097) })).rejects.toMatchObject({ name: "MessageTooLarge" });
    await expect(client.match("duel", { labels: { map: "x".repeat(1000) } })).rejects.toThrow(/at most 1000/);
    expect(newest().kinds()).toEqual(["Hello", "Ping", "Join"]);
    const answer = client.command("plant", "x".repeat(900));
    newest().says(reply(1, null));
    expect(await answer).toBeNull();
  });

  it("are bounded: the 1,025th without a reply is rejected", async () => {
    const client = await seated();
    const ends = Array.from({ length: 1024 }, () => client.command("plant").catch(() => undefined));
    await expect(client.command("plant")).rejects.toThrow(/1024 commands have no reply/);
    client.close();
    await Promise.all(ends);
  });
});

describe("an input", () => {
  it("returns its sequence number, and 0 when it is not sent", async () => {
    const client = await seated();
    expect([client.sendInput({}), client.sendInput({})]).toEqual([1, 2]);
    newest().ends(1006);
    expect(client.sendInput({})).toBe(0);
    await vi.advanceTimersByTimeAsync(300);
    newest().opens();
    newest().says(welcome(2, "token-2", { roomId: "room-1" }));
    expect(client.sendInput({})).toBe(3);
    newest().readyState = 2;
    expect(client.sendInput({})).toBe(0);
  });

  it("outside of a room throws", async () => {
    const client = await open();
    expect(() => client.sendInput({})).toThrow(/join first/);
  });
});

describe("a listener", () => {
  it.each(["joined", "state", "event", "left", "pong", "disconnected", "reconnected", "refused", "match", "acknowledged"] as const)(
    "of %s that throws stops nothing, and is reported",
    async (name) => {
      const client = await open();
      const reported: Events["error"][] = [];
      client.on("error", (error) => reported.push(error));
      client.on(name, () => {
        throw new Error("a mistake of the game");
      });
      const joining = client.join("garden");
      newest().says(refusal(ErrorCode.OUT_OF_ORDER, ClientBody.Leave));
      newest().says(joined);
      expect((await joining).roomId).toBe("room-1");
      await settle();
      newest().says(event(1));
      newest().says(ack(1, 1));
      newest().says(match(QueueState.WAITING));
      newest().says(left);
      await resumes(2, {});
      const answer = client.join("garden");
      newest().says(joined);
      await answer;
      expect(client.state).toBe("connected");
      if (name !== "state") {
        expect(reported[0]).toMatchObject({ event: name, error: { message: "a mistake of the game" } });
      }
    },
  );

  it("of refusals can send a new request that the same Error does not end", async () => {
    const client = await open();
    let again: Promise<unknown> | undefined;
    client.on("refused", () => (again ??= client.match("duel")));
    const matching = expect(client.match("duel")).rejects.toMatchObject({ code: "UNAVAILABLE" });
    newest().says(refusal(ErrorCode.UNAVAILABLE, ClientBody.MatchRequest, 500));
    await matching;
    for (const data of [match(QueueState.WAITING), match(QueueState.FOUND), redirect("", false, "t")]) newest().says(data);
    await settle();
    newest().says(joined);
    expect(await again).toMatchObject({ roomId: "room-1" });
  });

  it("that is asynchronous and rejects is reported", async () => {
    const client = await seated();
    const reported = vi.fn();
    client.on("error", reported);
    client.on("event", async () => {
      throw new Error("a mistake of the game");
    });
    newest().says(event(1));
    await settle();
    expect(reported.mock.calls).toEqual([[{ event: "event", error: new Error("a mistake of the game") }]]);
  });

  it.each([
    ["throws", () => { throw new Error("a mistake of the game"); }],
    ["rejects", async () => { throw new Error("a mistake of the game"); }],
  ])("of entities that %s is reported, and the next entity is reported to it", async (_, enter) => {
    const client = await seated();
    const reported = vi.fn();
    client.on("error", reported);
    const table = { groups: [], has: () => true, each: (visit: (id: number, number: () => number) => void) => [1, 2].forEach((id) => visit(id, () => 0)) };
    client.core.world = { tableNames: ["ships"], table: () => table } as unknown as World;
    const entered = vi.fn(enter);
    client.entities("ships", ["x"], { enter: entered });
    client["emitted"]("state", { tick: 1, isKeyframe: true });
    await settle();
    expect(entered.mock.calls).toEqual([[1], [2]]);
    expect(reported.mock.calls).toEqual(Array(2).fill([{ event: "entities", error: new Error("a mistake of the game") }]));
  });

  it("that throws is reported on the console without an error listener", async () => {
    const client = await seated();
    const console_ = vi.spyOn(console, "error").mockImplementation(() => undefined);
    const mistake = new Error("a mistake of the game");
    client.on("event", () => {
      throw mistake;
    });
    const listener = vi.fn();
    client.on("event", listener);
    newest().says(event(1));
    expect(listener).toHaveBeenCalledOnce();
    expect(console_).toHaveBeenCalledWith(expect.stringContaining("event"), mistake);
    console_.mockRestore();
  });

  it("of errors that throws is not called recursively", async () => {
    const client = await seated();
    const console_ = vi.spyOn(console, "error").mockImplementation(() => undefined);
    for (const name of ["event", "error"] as const) {
      client.on(name, () => {
        throw new Error(name);
      });
    }
    newest().says(event(1));
    expect(console_).toHaveBeenCalledOnce();
    console_.mockRestore();
  });

  it("added right after the join receives the messages that arrived with the seat", async () => {
    const client = await open();
    const received: unknown[] = [];
    const play = async () => {
      await client.join("garden");
      client.on("event", ({ payload }) => received.push(payload));
    };
    const playing = play();
    for (const data of [joined, event(1), event(2)]) newest().says(data); // in one task, as Node's ws does it
    await playing;
    await settle();
    expect(received).toEqual([1, 2]);
  });

  it("of refusals is notified when events are lost", async () => {
    const client = await seated();
    const codes: string[] = [];
    client.on("refused", ({ code }) => codes.push(code));
    newest().says(refusal(ErrorCode.RESYNC, ClientBody.NONE));
    expect(codes).toEqual(["RESYNC"]);
  });

  it("of events skips an event that cannot be decoded, and receives later ones", async () => {
    const client = await seated();
    const received: unknown[] = [];
    const reported = vi.fn();
    client.on("event", ({ payload }) => received.push(payload));
    client.on("error", reported);
    newest().says(event(1, Uint8Array.of(0xc1)));
    newest().says(event(2));
    expect([received, reported.mock.calls.length]).toEqual([[2], 1]);
  });
});

describe("a world", () => {
  it("stays the same object while its room moves to another shard, and is replaced in another room", async () => {
    const client = await seated();
    const { world } = client;
    await resumes();
    newest().says(joined);
    expect(client.world).toBe(world);
    newest().says(left);
    const joining = client.join("garden");
    newest().says(joinedIn("room-2"));
    await joining;
    expect(client.world).not.toBe(world);
  });
});

describe("inputs of a session", () => {
  it("keep ascending numbers across the Joined that follows a move", async () => {
    const client = await seated();
    client.sendInput({});
    await resumes();
    expect(client.sendInput({})).toBe(2);
    newest().says(joined);
    expect(client.sendInput({})).toBe(3);
    newest().says(ack(7, 3));
    expect(client.core.acknowledgedSeq).toBe(3);
  });
});

describe("prediction that follows a client", () => {
  const play = async () => {
    const client = await seated();
    const own = new Prediction<{ x: number }, number>((state, by) => ({ x: state.x + by }));
    let served: { x: number } | null = { x: 100 };
    const end = own.follow(client, () => served);
    const press = (by: number) => own.sent(client.sendInput({}), by);
    newest().says(state(1));
    return { client, own, end, press, serve: (next: { x: number } | null) => (served = next) };
  };

  it("applies unacknowledged inputs on top of the server state", async () => {
    const { own, press, serve } = await play();
    press(5);
    press(5);
    expect(own.now).toEqual({ x: 110 });
    serve({ x: 104 });
    newest().says(ack(2, 1));
    newest().says(state(2));
    expect([own.now, own.unacknowledged]).toEqual([{ x: 109 }, 1]);
  });

  it("applies an acknowledgement without a state", async () => {
    const { own, press } = await play();
    press(5);
    newest().says(ack(2, 1));
    expect(own.now).toEqual({ x: 105 }); // its state may still arrive
    await settle();
    expect([own.now, own.unacknowledged]).toEqual([{ x: 100 }, 0]);
  });

  it("discards pending inputs on a resume, and ignores inputs that were not sent", async () => {
    const { own, press } = await play();
    press(5);
    newest().ends(1006);
    press(5);
    expect(own.now).toEqual({ x: 105 });
    await vi.advanceTimersByTimeAsync(300);
    newest().opens();
    newest().says(welcome(2, "token-2", { roomId: "room-1" }));
    expect([own.now, own.unacknowledged]).toEqual([{ x: 100 }, 0]);
    press(3);
    expect(own.now).toEqual({ x: 103 });
  });

  it("is empty after the seat is lost, and can be stopped", async () => {
    const { own, end, serve } = await play();
    newest().says(left);
    expect(own.now).toBeNull();
    end();
    serve({ x: 1 });
    newest().says(joined);
    newest().says(state(3));
    expect(own.now).toBeNull();
  });
});

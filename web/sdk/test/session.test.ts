/** Tests the session on a fake socket: how it detects a lost connection, how it reconnects, and which errors are final. */

import { readFileSync } from "node:fs";

import { beforeEach, describe, expect, it, vi } from "vitest";

import { Client } from "../src/client.js";
import { isFinal } from "../src/close_codes.js";
import { ErrorCode } from "../src/generated/tickwire/error-code";
import { FakeSocket, goodbye, joined, newest, open, redirect, refusal, seated, settle, welcome } from "./fakes.js";
import { ClientBody } from "../src/generated/tickwire/client-body";
import { ReconnectPlan } from "../src/reconnect.js";

beforeEach(() => {
  FakeSocket.all = [];
  vi.useFakeTimers();
  return () => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  };
});

const hints = { window: new EventTarget(), document: Object.assign(new EventTarget(), { visibilityState: "visible" }) };

describe("close codes", () => {
  it("agree with the protocol's table", () => {
    const text = readFileSync(new URL("../../../docs/protocol.md", import.meta.url), "utf8");
    const rows = [...text.matchAll(/^\| ([\d, ]+) \| .* \| (.*) \|$/gm)].filter(([, codes]) => /\d{4}/.test(codes!));
    expect(rows.length).toBeGreaterThan(8);
    for (const [, codes, comeBack] of rows) {
      for (const code of codes!.split(", ").map(Number)) {
        const named = comeBack!.match(/(\d{4}): yes/); // the row lists several codes; only this one is retryable
        const mayReturn = named ? Number(named[1]) === code : comeBack!.startsWith("yes");
        expect([code, isFinal(code)]).toEqual([code, !mayReturn]);
      }
    }
    expect([4250, 4999, 1005, 1006, 1012].map((code) => isFinal(code))).toEqual([false, true, false, false, false]);
  });

  it.each([1000, 1002, 1003, 1007, 1008, 1009, 4500, 4501, 4502, 4504, 4505])("%i is final", async (code) => {
    const client = await seated();
    const closed = vi.fn();
    client.on("closed", closed);
    newest().ends(code, "no");
    await vi.advanceTimersByTimeAsync(60_000);
    expect([client.state, closed.mock.calls.length, FakeSocket.all.length]).toEqual(["closed", 1, 1]);
  });

  it("are overridden by a Goodbye", async () => {
    const client = await seated();
    newest().says(goodbye(ErrorCode.RATE_LIMITED, true));
    newest().ends(1008);
    expect(client.state).toBe("reconnecting");
    await vi.advanceTimersByTimeAsync(300);
    newest().opens();
    newest().says(welcome(2, "token-2", { roomId: "room-1" }));
    newest().says(goodbye(ErrorCode.KICKED, false));
    newest().ends(1011);
    expect(client.state).toBe("closed");
  });
});

describe("a path that dies silently", () => {
  it("is detected within 10 s, and the session resumes on another connection", async () => {
    const client = await seated();
    const dead = newest();
    dead.isAlive = false;
    await vi.advanceTimersByTimeAsync(9_999);
    expect([client.state, newest() !== dead]).toEqual(["reconnecting", true]);
    newest().opens();
    newest().says(welcome(2, "token-2", { roomId: "room-1" }));
    expect([client.state, client.resumes, dead.closedWith]).toEqual(["connected", 1, 4000]);
  });

  it("breaks a connection that the server does not answer, if the socket can", async () => {
    const terminate = vi.fn();
    await seated();
    const dead = Object.assign(newest(), { isAlive: false, terminate });
    await vi.advanceTimersByTimeAsync(10_000);
    expect([terminate.mock.calls.length, dead.closedWith]).toEqual([1, undefined]);
  });

  it("is not a path that stalls for 5 s", async () => {
    const client = await seated();
    const socket = newest();
    await vi.advanceTimersByTimeAsync(2_900);
    socket.isAlive = false;
    await vi.advanceTimersByTimeAsync(5_000);
    socket.isAlive = true;
    socket.says(joined);
    await vi.advanceTimersByTimeAsync(60_000);
    expect([client.state, FakeSocket.all.length]).toEqual(["connected", 1]);
  });

  it("is not the path of a tab whose timers run once a minute", async () => {
    const setTimeout_ = globalThis.setTimeout;
    vi.stubGlobal("setTimeout", (run: () => void, ms = 0) => setTimeout_(run, Math.max(ms, 60_000)));
    const client = await seated();
    await vi.advanceTimersByTimeAsync(20 * 60_000);
    expect([client.state, FakeSocket.all.length]).toEqual(["connected", 1]);
    expect(newest().count("Ping")).toBe(21);
  });

  it("traffic sends pings where timers do not run", async () => {
    vi.stubGlobal("setTimeout", () => 0);
    const client = await seated();
    for (let second = 0; second < 30; second++) {
      await vi.advanceTimersByTimeAsync(1000);
      newest().says(joined);
    }
    expect(client.state).toBe("connected");
    expect(newest().count("Ping")).toBe(11);
  });

  it.each([
    ["online", hints.window],
    ["pageshow", hints.window],
    ["visibilitychange", hints.document],
    ["resume", hints.document],
  ] as const)("is noticed within one interval after %s", async (name, target) => {
    for (const [key, value] of Object.entries(hints)) vi.stubGlobal(key, value);
    const client = await seated();
    newest().isAlive = false;
    target.dispatchEvent(new Event(name));
    await vi.advanceTimersByTimeAsync(3_001);
    expect(client.state).toBe("reconnecting");
    client.close();
  });

  it("a hint on a live path changes nothing", async () => {
    for (const [key, value] of Object.entries(hints)) vi.stubGlobal(key, value);
    const client = await seated();
    for (let second = 0; second < 10; second++) {
      hints.window.dispatchEvent(new Event("online"));
      await vi.advanceTimersByTimeAsync(1000);
    }
    expect([client.state, FakeSocket.all.length]).toEqual(["connected", 1]);
    client.close();
  });

  it("a connection that the browser closed without an event is detected at once", async () => {
    for (const [key, value] of Object.entries(hints)) vi.stubGlobal(key, value);
    const client = await seated();
    newest().readyState = 3;
    hints.window.dispatchEvent(new Event("pageshow"));
    expect(client.state).toBe("reconnecting");
    client.close();
  });
});

describe("reconnecting", () => {
  it("tries until its time limit, with growing pauses", async () => {
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

  it.each([1000, 1006, 1008, 1009])("continues when a proxy closes the socket with %i during the handshake", async (code) => {
    const client = await seated();
    newest().ends(1006);
    await vi.advanceTimersByTimeAsync(300);
    newest().ends(code);
    await vi.advanceTimersByTimeAsync(1000);
    expect([client.state, FakeSocket.all.length > 2]).toEqual(["reconnecting", true]);
  });

  it.each([
    [1008, "closed"],
    [4502, "closed"],
    [1011, "reconnecting"],
    [4002, "reconnecting"],
  ])("a close with %i before Welcome leaves it %s", async (code, state) => {
    const client = await seated();
    newest().ends(1006);
    await vi.advanceTimersByTimeAsync(300);
    newest().opens();
    newest().ends(code);
    await settle();
    expect(client.state).toBe(state);
    client.close();
  });

  it("continues when fetching the token fails or hangs", async () => {
    let attempts = 0;
    const token = () => {
      attempts++;
      if (attempts === 2) throw new Error("no network");
      return attempts === 3 ? new Promise<string>(() => undefined) : "jwt";
    };
    const client = await seated({ token });
    newest().ends(1006);
    await vi.advanceTimersByTimeAsync(12_000);
    expect([client.state, attempts]).toEqual(["reconnecting", 4]);
    newest().opens();
    newest().says(welcome(2, "token-2", { roomId: "room-1" }));
    expect(client.state).toBe("connected");
  });

  it("waits for the time in the server's last Error or Goodbye", async () => {
    await seated();
    newest().says(refusal(ErrorCode.RATE_LIMITED, ClientBody.NONE, 5000));
    newest().ends(4004);
    await vi.advanceTimersByTimeAsync(4_999);
    expect(FakeSocket.all).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1_300);
    expect(FakeSocket.all).toHaveLength(2);
  });

  it("does not wait for the time in an Error that the close does not refer to", async () => {
    await seated();
    newest().says(refusal(ErrorCode.RATE_LIMITED, ClientBody.Join, 5000));
    newest().ends(1006);
    await vi.advanceTimersByTimeAsync(300);
    expect(FakeSocket.all).toHaveLength(2);
  });

  it("continues when the connection is gone by the time its Welcome is read", async () => {
    const client = await seated();
    newest().ends(1006);
    await vi.advanceTimersByTimeAsync(300);
    newest().opens();
    newest().readyState = 3;
    newest().says(welcome(2, "token-2", { roomId: "room-1" }));
    newest().ends(1006);
    expect(client.state).toBe("reconnecting");
    await vi.advanceTimersByTimeAsync(600);
    newest().opens();
    newest().says(welcome(3, "token-3", { roomId: "room-1" }));
    expect([client.state, client.resumes]).toEqual(["connected", 2]);
  });

  it("ends when the server sends an error that is not retryable", async () => {
    const client = await seated();
    newest().ends(1006);
    await vi.advanceTimersByTimeAsync(300);
    newest().opens();
    newest().says(refusal(ErrorCode.BANNED, ClientBody.Hello));
    newest().ends(4505);
    await settle();
    expect(client.state).toBe("closed");
  });

  it("does not restart with each Welcome: a connection that breaks at once is retried with growing pauses, up to the limit", async () => {
    const client = await seated();
    newest().ends(1006);
    for (let step = 0; step < 3000; step++) {
      await vi.advanceTimersByTimeAsync(100);
      if (newest().readyState !== 0) continue;
      newest().opens();
      newest().says(welcome(2, "token-2", { roomId: "room-1" }));
      newest().ends(1011);
    }
    expect(client.state).toBe("closed");
    expect(FakeSocket.all.length).toBeLessThan(40);
  });

  it("ends with a message that cannot be decoded, which the server would send again", async () => {
    const client = await seated();
    const closed = vi.fn();
    client.on("closed", closed);
    newest().says(Uint8Array.of(1, 2, 3));
    await vi.advanceTimersByTimeAsync(10_000);
    expect([client.state, FakeSocket.all.length, newest().closedWith]).toEqual(["closed", 1, 4000]);
    expect(closed.mock.calls[0]![0].message).toMatch(/not a message/);
  });

  it("restarts its pauses and its time limit after a hint", async () => {
    for (const [key, value] of Object.entries(hints)) vi.stubGlobal(key, value);
    const client = await seated();
    newest().ends(1006);
    for (let second = 0; second < 45; second++) {
      await vi.advanceTimersByTimeAsync(1000);
      if (newest().readyState === 0) newest().ends(1006);
    }
    const before = FakeSocket.all.length;
    hints.window.dispatchEvent(new Event("online"));
    await vi.advanceTimersByTimeAsync(600);
    expect(FakeSocket.all.length).toBeGreaterThan(before);
    for (let second = 0; second < 45; second++) {
      await vi.advanceTimersByTimeAsync(1000);
      if (newest().readyState === 0) newest().ends(1006);
    }
    expect(client.state).toBe("reconnecting");
    client.close();
  });

  it("abandons an attempt that hangs on the previous network", async () => {
    for (const [key, value] of Object.entries(hints)) vi.stubGlobal(key, value);
    const client = await seated();
    newest().ends(1006);
    await vi.advanceTimersByTimeAsync(300);
    const hanging = newest();
    hints.window.dispatchEvent(new Event("online"));
    await vi.advanceTimersByTimeAsync(600);
    expect([newest() === hanging, client.state]).toEqual([false, "reconnecting"]);
    client.close();
  });

  it("does not run out of time in a tab whose timers run once a minute", async () => {
    const setTimeout_ = globalThis.setTimeout;
    vi.stubGlobal("setTimeout", (run: () => void, ms = 0) => setTimeout_(run, Math.max(ms, 60_000)));
    const client = await seated();
    newest().ends(1006);
    for (let minute = 0; minute < 6; minute++) {
      await vi.advanceTimersByTimeAsync(60_000);
      if (minute < 5) newest().ends(1006);
    }
    newest().opens();
    newest().says(welcome(1, "token-2"));
    expect(client.state).toBe("connected");
    client.close();
  });

  it("returns to the initial URL, and retries there, when the target of a Redirect cannot be reached", async () => {
    const client = await open();
    const joining = client.join("garden");
    newest().says(redirect("ws://other/", false, "ticket-1"));
    await settle();
    newest().ends(1006);
    await settle();
    newest().ends(1006); // the initial URL fails once, too
    await vi.advanceTimersByTimeAsync(600);
    expect(newest().url).toBe("ws://initial/");
    newest().opens();
    newest().says(welcome(1, "token-3"));
    await vi.advanceTimersByTimeAsync(250);
    newest().says(joined);
    expect((await joining).roomId).toBe("room-1");
  });
});

describe("the address of an attempt", () => {
  function lostPlan(random: number): ReconnectPlan {
    const plan = new ReconnectPlan("initial", 60_000, () => random);
    plan.connected("shard", 0);
    plan.lost(0, 0);
    return plan;
  }

  it("is the shard three times, then alternately the initial URL and the shard", () => {
    const plan = lostPlan(0);
    const urls = Array.from({ length: 7 }, () => plan.next(0)!.url);
    expect(urls).toEqual(["shard", "shard", "shard", "initial", "shard", "initial", "shard"]);
  });

  it("stays the initial URL once that has answered", () => {
    const plan = lostPlan(0);
    for (let attempt = 0; attempt < 4; attempt++) plan.next(0);
    plan.failed(0, true);
    expect([plan.next(0)!.url, plan.next(0)!.url]).toEqual(["initial", "initial"]);
  });

  it("is the target of a Redirect, without a pause, five times in a row", () => {
    const plan = lostPlan(1);
    const pauses = Array.from({ length: 6 }, () => {
      plan.redirected("other");
      return plan.next(0)!.pauseMs;
    });
    expect(pauses).toEqual([0, 0, 0, 0, 0, 250]);
  });
});

describe("a refused handshake", () => {
  it("names the likely causes in a browser, with the page's origin", async () => {
    vi.stubGlobal("location", { origin: "http://localhost:5173" });
    const client = new Client("ws://initial/", { socket: (url) => new FakeSocket(url) });
    const opening = expect(client.open()).rejects.toThrow(/cannot connect to ws:\/\/initial\/.*1006.*http:\/\/localhost:5173.*edge\.origins/s);
    await settle();
    newest().ends(1006);
    await opening;
  });

  it("contains the reason of Node's WebSocket", async () => {
    const client = new Client("ws://initial/", { socket: (url) => new FakeSocket(url) });
    const opening = expect(client.open()).rejects.toThrow("cannot connect to ws://initial/: Unexpected server response: 403.");
    await settle();
    newest().onerror({ message: "Unexpected server response: 403" });
    newest().ends(1006);
    await opening;
  });

  it("is a ClientError when the address is invalid", async () => {
    const socket = () => {
      throw new SyntaxError("The URL 'nonsense' is invalid");
    };
    const opening = new Client("nonsense", { socket }).open();
    await expect(opening).rejects.toMatchObject({ name: "ConnectFailed", message: expect.stringContaining("nonsense") });
  });
});

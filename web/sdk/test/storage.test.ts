/** Tests that a client continues its session after the page was reloaded: another Client with the same storage. */

import { beforeEach, describe, expect, it, vi } from "vitest";

import { Client, type Options } from "../src/client.js";
import { ErrorCode } from "../src/generated/tickwire/error-code";
import { ClientBody } from "../src/generated/tickwire/client-body";
import { Hello } from "../src/generated/tickwire/hello";
import { browserStorage, type SessionStorage } from "../src/storage.js";
import { event, FakeSocket, joined, newest, refusal, seated, settle, state, welcome } from "./fakes.js";

beforeEach(() => {
  FakeSocket.all = [];
  vi.useFakeTimers();
  return () => vi.useRealTimers();
});

class Memory implements SessionStorage {
  text: string | null = null;
  load = () => this.text;
  save = (text: string) => void (this.text = text);
  clear = () => void (this.text = null);
}

const ANN = token({ sub: "ann" });

function token(claims: object): string {
  return `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.signature`;
}

/** Begins to open a client as a page does after it was reloaded. */
async function reloaded(storage: SessionStorage, options: Options = {}): Promise<{ client: Client; opened: Promise<void> }> {
  const client = new Client("ws://initial/", { socket: (url) => new FakeSocket(url), token: ANN, sessionStorage: storage, ...options });
  const opened = client.open();
  await settle();
  newest().opens();
  return { client, opened };
}

const hello = () => newest().last(ClientBody.Hello, new Hello());

describe("a stored session", () => {
  it("is resumed with its seat, its events and its numbers, and open waits for the room", async () => {
    const storage = new Memory();
    await seated({ token: ANN, sessionStorage: storage });
    newest().says(event(1));
    await vi.advanceTimersByTimeAsync(3000); // the next Ping confirms the event, which is stored before
    const { client, opened } = await reloaded(storage);
    expect([hello().resumeToken(), hello().lastEvent(), hello().roomId(), hello().lastTick()]).toEqual(["token-1", 1, null, 0]);
    expect(hello().attempt()).toBeGreaterThan(1);
    newest().says(welcome(2, "token-2", { roomId: "room-1" }));
    await settle();
    expect(client.room).toBeNull();
    newest().says(joined);
    newest().says(state(7));
    await opened;
    expect([client.room!.roomId, client.resumes, client.sessionsLost]).toEqual(["room-1", 1, 0]);
    await settle();
    expect(client.world.tick).toBe(7);
    void client.command("plant").catch(() => undefined);
    expect(newest().commands()[0]).toBeGreaterThan(1000);
    expect(JSON.parse(storage.text!)).toMatchObject({ version: 1, resume_token: "token-2", player: "ann", initial_url: "ws://initial/" });
    client.close();
  });

  it("is not used by another player", async () => {
    const storage = new Memory();
    await seated({ token: ANN, sessionStorage: storage });
    const { client, opened } = await reloaded(storage, { token: token({ sub: "bob" }) });
    expect([hello().resumeToken(), storage.text]).toEqual([null, null]);
    newest().says(welcome(1, "token-9"));
    await opened;
    expect([client.room, client.sessionsLost]).toEqual([null, 0]);
    client.close();
  });

  it("that the server has not kept is lost", async () => {
    const storage = new Memory();
    await seated({ token: ANN, sessionStorage: storage });
    const { client, opened } = await reloaded(storage);
    newest().says(welcome(1, "token-9"));
    await opened;
    expect([client.room, client.sessionsLost]).toEqual([null, 1]);
    client.close();
  });

  it("is deleted when the client closes", async () => {
    const storage = new Memory();
    const client = await seated({ token: ANN, sessionStorage: storage });
    expect(storage.text).not.toBeNull();
    client.close();
    expect(storage.text).toBeNull();
  });

  it("is kept when the connection ends for good, because a new page may resume it", async () => {
    const storage = new Memory();
    const client = await seated({ token: ANN, sessionStorage: storage, reconnectMs: 0 });
    newest().ends(1006);
    expect([client.state, storage.text === null]).toEqual(["closed", false]);
  });

  it("is saved and deleted in order by a slow storage", async () => {
    const done: string[] = [];
    const later = (what: string, ms: number) => new Promise<void>((resolve) => setTimeout(() => (done.push(what), resolve()), ms));
    const storage = {
      load: async () => null,
      save: (text: string) => later(JSON.parse(text).resume_token, 20),
      clear: () => later("clear", 1),
    };
    const client = await seated({ token: ANN, sessionStorage: storage });
    client.close();
    await vi.advanceTimersByTimeAsync(100);
    expect(done).toEqual(["token-1", "token-1", "clear"]);
  });

  it("is deleted by a close before it is loaded, and no connection is opened", async () => {
    const clear = vi.fn();
    const load = () => new Promise<string>((resolve) => setTimeout(() => resolve("text"), 20));
    const client = new Client("ws://initial/", { socket: (url) => new FakeSocket(url), sessionStorage: { load, save: () => undefined, clear } });
    const opening = expect(client.open()).rejects.toThrow(/closed/);
    client.close();
    await vi.advanceTimersByTimeAsync(100);
    await opening;
    expect([client.state, FakeSocket.all.length]).toEqual(["closed", 0]);
    expect(clear).toHaveBeenCalled();
  });

  it("that cannot be read or written is reported, and the client plays on", async () => {
    const fail = () => {
      throw new Error("no storage in this browser");
    };
    const console_ = vi.spyOn(console, "error").mockImplementation(() => undefined);
    const client = await seated({ token: ANN, sessionStorage: { load: fail, save: fail, clear: fail } });
    newest().says(refusal(ErrorCode.RATE_LIMITED, ClientBody.Input));
    expect([client.state, client.room!.roomId]).toEqual(["connected", "room-1"]);
    expect(console_.mock.calls[0]![0]).toMatch(/sessionStorage/);
    client.close();
    console_.mockRestore();
  });
});

describe("the storage of a browser", () => {
  it("keeps one text under its key", () => {
    const kept = new Map<string, string>();
    const area = {
      getItem: (key: string) => kept.get(key) ?? null,
      setItem: (key: string, value: string) => kept.set(key, value),
      removeItem: (key: string) => kept.delete(key),
    } as unknown as Storage;
    const storage = browserStorage("game", () => area);
    expect(storage.load()).toBeNull();
    void storage.save("text");
    expect([storage.load(), kept.get("game")]).toEqual(["text", "text"]);
    void storage.clear();
    expect(kept.size).toBe(0);
  });
});

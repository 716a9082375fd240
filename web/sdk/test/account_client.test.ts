/** Tests the client of accounts against an API that accepts each refresh token once. */

import { beforeEach, describe, expect, it, vi } from "vitest";

import { AccountClient } from "../src/account_client.js";
import { ApiError, ApiUnreachable, NotLoggedIn } from "../src/errors.js";
import type { SessionStorage } from "../src/storage.js";

class Memory implements SessionStorage {
  text: string | null = null;
  readonly saved: Record<string, unknown>[] = [];
  load = () => this.text;
  save = (text: string) => {
    this.text = text;
    this.saved.push(JSON.parse(text));
  };
  clear = async () => void (this.text = null);
}

interface Call {
  method: string;
  path: string;
  body: Record<string, unknown>;
  headers: Record<string, string>;
}

const URL_ = "https://api.game.example";
let calls: Call[];
let failures: (Response | Error)[];
let refresh: number;
let nowMs: number;
let held: Promise<void>;

beforeEach(() => {
  [calls, failures, refresh, nowMs, held] = [[], [], 0, 0, Promise.resolve()];
  vi.spyOn(Math, "random").mockReturnValue(0.001);
  return () => vi.restoreAllMocks();
});

function problem(status: number, code: string, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify({ title: "x", status, code, detail: "why" }), { status, headers });
}

async function fakeFetch(url: unknown, init?: RequestInit): Promise<Response> {
  const path = String(url).slice(URL_.length);
  const body = init?.body ? JSON.parse(String(init.body)) : {};
  calls.push({ method: init?.method ?? "GET", path, body, headers: init?.headers as Record<string, string> });
  await held;
  const failure = failures.shift();
  if (failure instanceof Error) throw failure;
  if (failure) return failure;
  if (path === "/v1/token" && body.refresh_token !== `r${refresh}`) return problem(401, "UNAUTHORIZED");
  if (path === "/v1/token" || path.startsWith("/v1/login/")) {
    refresh++;
    return Response.json({
      player_id: "p-1",
      is_new: path !== "/v1/token",
      access_token: `a${refresh}`,
      expires_in_s: 900,
      refresh_token: `r${refresh}`,
      refresh_expires_in_s: 1000,
      player_url: "ws://127.0.0.1:1",
      known_client: path.endsWith("email") ? "k" : "",
    });
  }
  if (path === "/v1/account" && init?.method === "GET") return Response.json({ player_id: "p-1", created_at: "", identities: [] });
  return new Response(null, { status: 204 });
}

const client = (storage?: SessionStorage) => new AccountClient(URL_, { storage, fetch: fakeFetch as typeof fetch, nowMs: () => nowMs });
const paths = () => calls.map(({ path }) => path);

describe("a client of accounts", () => {
  it("saves the credentials of the device before it sends them", async () => {
    const storage = new Memory();
    failures = [problem(403, "BANNED")];
    await expect(client(storage).loginDevice()).rejects.toMatchObject({ code: "BANNED", status: 403 });
    expect(storage.saved[0]).toMatchObject({ device_id: calls[0]!.body.device_id });
    expect(String(calls[0]!.body.secret).length).toBeGreaterThanOrEqual(32);
    expect(await client(storage).loginDevice()).toBe(true);
    expect(calls[1]!.body).toEqual(calls[0]!.body);
  });

  it("continues a saved login", async () => {
    const storage = new Memory();
    await client(storage).loginDevice();
    const next = client(storage);
    expect(await next.restore()).toBe(true);
    expect([next.playerId, next.playerUrl, await next.token()]).toEqual(["p-1", "ws://127.0.0.1:1", "a2"]);
    expect(paths()).toEqual(["/v1/login/device", "/v1/token"]);
  });

  it("does not send a login to another API", async () => {
    const storage = new Memory();
    storage.save(JSON.stringify({ version: 1, api_url: "https://other.example", refresh_token: "secret" }));
    expect(await client(storage).restore()).toBe(false);
    expect(calls).toEqual([]);
  });

  it("renews a token once for all callers", async () => {
    const mine = client();
    await mine.loginDevice();
    nowMs = 839_000;
    expect(await mine.token()).toBe("a1");
    nowMs = 841_000;
    expect(await Promise.all([mine.token(), mine.token(), mine.token()])).toEqual(["a2", "a2", "a2"]);
    expect(paths().filter((path) => path === "/v1/token")).toHaveLength(1);
  });

  it("renews a token after the computer has slept", async () => {
    const date = vi.spyOn(Date, "now").mockReturnValue(0);
    const mine = client();
    await mine.loginDevice();
    date.mockReturnValue(839_000);
    expect(await mine.token()).toBe("a1");
    date.mockReturnValue(841_000);
    expect(await mine.token()).toBe("a2");
    date.mockReturnValue(-3_600_000);
    expect(await mine.token()).toBe("a2");
  });

  it("renews the login in turns with another tab", async () => {
    const storage = new Memory();
    const [first, second] = [client(storage), client(storage)];
    expect(await second.restore()).toBe(false);
    await first.loginDevice();
    expect(await second.restore()).toBe(true);
    nowMs = 850_000;
    expect([await first.token(), await second.token()]).toEqual(["a3", "a4"]);
    expect(calls.slice(1).map(({ body }) => body.refresh_token)).toEqual(["r1", "r2", "r3"]);
    await second.loginDevice();
    expect(calls.at(-1)!.body).toEqual(calls[0]!.body);
    await first.logout();
    expect(calls.at(-1)!.body.refresh_token).toBe("r5");
  });

  it("keeps the login if another tab has used the token during the call", async () => {
    const storage = new Memory();
    await client(storage).loginDevice();
    let release = () => {};
    held = new Promise((resolve) => (release = resolve));
    const restoring = client(storage).restore();
    await vi.waitFor(() => expect(calls).toHaveLength(2));
    refresh = 2;
    storage.text = JSON.stringify({ ...storage.saved.at(-1), refresh_token: "r2" });
    release();
    expect(await restoring).toBe(true);
    expect(storage.saved.at(-1)!.refresh_token).toBe("r3");
  });

  it("uses a login that cannot be saved until it can", async () => {
    const storage = new Memory();
    const mine = client(storage);
    await mine.loginDevice();
    nowMs = 850_000;
    const save = storage.save;
    storage.save = () => {
      throw new Error("full");
    };
    await expect(mine.token()).rejects.toThrow("full");
    expect(await mine.token()).toBe("a2");
    storage.save = save;
    nowMs = 1_700_000;
    expect(await mine.token()).toBe("a3");
    expect(storage.saved.at(-1)!.refresh_token).toBe("r3");
  });

  it("reports a response that is not a login", async () => {
    const storage = new Memory();
    await client(storage).loginDevice();
    for (const page of ["<html>", "{}"]) {
      failures = [new Response(page)];
      await expect(client(storage).restore()).rejects.toMatchObject({ status: 502, detail: "the response is not a login" });
    }
    expect(storage.saved.at(-1)!.refresh_token).toBe("r1");
  });

  it("reports an ended login and keeps the device", async () => {
    const storage = new Memory();
    await client(storage).loginDevice();
    refresh = 7;
    const next = client(storage);
    await expect(next.token()).rejects.toBeInstanceOf(NotLoggedIn);
    expect(storage.saved.at(-1)).toHaveProperty("device_id");
    expect(storage.saved.at(-1)).not.toHaveProperty("refresh_token");
    expect(next.playerId).toBe("");
  });

  it("repeats a call with its key while the API is not available", async () => {
    failures = [problem(503, "UNAVAILABLE"), new Response("<html>", { status: 502 }), new TypeError("network")];
    expect(await client().loginDevice()).toBe(true);
    expect(calls).toHaveLength(4);
    expect(new Set(calls.map(({ headers }) => headers["Idempotency-Key"])).size).toBe(1);
  });

  it("leaves a long Retry-After to the caller", async () => {
    failures = [problem(429, "RATE_LIMITED", { "Retry-After": "3600" })];
    await expect(client().loginEmail("ann@x.example", "correct horse")).rejects.toMatchObject({ retryAfterMs: 3_600_000 });
    expect(calls).toHaveLength(1);
  });

  it("reports an API that does not answer", async () => {
    failures = [1, 2, 3, 4].map(() => new TypeError("network"));
    await expect(client().loginDevice()).rejects.toBeInstanceOf(ApiUnreachable);
  });

  it("renews an access token that the server refuses", async () => {
    const mine = client();
    await mine.loginDevice();
    failures = [problem(401, "UNAUTHORIZED")];
    expect((await mine.getAccount()).player_id).toBe("p-1");
    expect(paths()).toEqual(["/v1/login/device", "/v1/account", "/v1/token", "/v1/account"]);
    expect(calls.at(-1)!.headers.Authorization).toBe("Bearer a2");
  });

  it("sends the proof of an earlier login with the next password", async () => {
    const mine = client(new Memory());
    await mine.loginEmail("ann@x.example", "correct horse", { create: true });
    await mine.logout();
    await mine.loginEmail("ann@x.example", "correct horse");
    expect(calls[0]!.body).not.toHaveProperty("known_client");
    expect(calls.at(-1)!.body.known_client).toBe("k");
  });

  it("ends the saved logins after a merge and a deletion", async () => {
    const [storage, otherStorage] = [new Memory(), new Memory()];
    const [mine, other] = [client(storage), client(otherStorage)];
    await mine.loginDevice();
    await other.loginDevice();
    await mine.merge(other);
    expect(calls.at(-1)!.body).toEqual({ refresh_token: "r2" });
    expect(other.playerId).toBe("");
    await mine.delete();
    expect(storage.text).toBeNull();
  });

  it("quotes subjects in paths, and refuses to send passwords in plaintext", async () => {
    const mine = client();
    await mine.loginDevice();
    await mine.unlink("email", "a/b?@x.example");
    expect(paths().at(-1)).toBe("/v1/account/identities/email/a%2Fb%3F%40x.example");
    expect(() => new AccountClient("http://api.game.example")).toThrow(TypeError);
    expect(() => new AccountClient("http://localhost:8090")).not.toThrow();
    expect(new ApiError(400, "MALFORMED").message).toBe("MALFORMED");
  });
});

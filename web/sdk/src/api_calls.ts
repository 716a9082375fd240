/** Calls of the player HTTP API: with a deadline, and repeated while the API is not available.
 *
 * Each call is safe to repeat: logins and renewals by themselves, all other changes by their Idempotency-Key. */

import { Backoff } from "./backoff.js";
import { ApiError, ApiUnreachable } from "./errors.js";

const DEADLINE_MS = 10_000;
const ATTEMPTS_MAX = 4;
/** A longer delay that the server advised is the caller's decision. */
const RETRY_MS_MAX = 15_000;
const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

export type Fetch = typeof fetch;

export class ApiCalls {
  readonly url: string;

  /** @throws TypeError: the URL is not https, or http on loopback: passwords and tokens are sent to it. */
  constructor(
    url: string,
    private readonly fetch: Fetch = (...request) => globalThis.fetch(...request),
  ) {
    const { protocol, hostname } = new URL(url);
    if (protocol !== "https:" && !(protocol === "http:" && LOOPBACK.includes(hostname))) {
      throw new TypeError("the URL of the API must start with https://; http:// is allowed for loopback addresses");
    }
    this.url = url.replace(/\/+$/, "");
  }

  /** Returns the decoded JSON of the response; null for an empty one.
   *
   * @throws ApiError, ApiUnreachable. */
  async call(method: string, path: string, body?: object, token = ""): Promise<unknown> {
    return parse(await this.text(method, path, body, token));
  }

  /** Returns the body of the response.
   *
   * @throws ApiError, ApiUnreachable. */
  async text(method: string, path: string, body?: object, token = ""): Promise<string> {
    const headers: Record<string, string> = {};
    if (token) headers.Authorization = `Bearer ${token}`;
    if (body) headers["Content-Type"] = "application/json";
    if (method !== "GET") headers["Idempotency-Key"] = randomText(16);
    const backoff = new Backoff();
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.callOnce(path, { method, headers, body: body && JSON.stringify(body) });
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        const delay = backoff.next(error.retryAfterMs);
        if (!error.isTemporary || attempt === ATTEMPTS_MAX || delay > RETRY_MS_MAX) throw error;
        await new Promise((resolve) => setTimeout(resolve, delay));
      }
    }
  }

  private async callOnce(path: string, request: RequestInit): Promise<string> {
    const aborter = new AbortController();
    const timer = setTimeout(() => aborter.abort(), DEADLINE_MS);
    try {
      const response = await this.fetch(this.url + path, {
        ...request,
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        signal: aborter.signal,
      });
      const text = await response.text();
      if (!response.ok) throw toError(response, parse(text));
      return text;
    } catch (error) {
      if (error instanceof ApiError) throw error;
      throw new ApiUnreachable(`the API does not answer: ${aborter.signal.aborted ? "timeout" : String(error)}`);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Returns random text of letters, digits, - and _, with 8 bits of randomness for each byte. */
export function randomText(bytes: number): string {
  const random = crypto.getRandomValues(new Uint8Array(bytes));
  return btoa(String.fromCharCode(...random)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
}

/** Returns the decoded JSON; null if it is empty or not JSON, as a proxy's error page is. */
function parse(text: string): unknown {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

function toError(response: Response, decoded: unknown): ApiError {
  const problem = (typeof decoded === "object" && decoded ? decoded : {}) as Record<string, unknown>;
  const seconds = Number(response.headers.get("Retry-After") ?? 0);
  const advised = typeof problem.retry_after_ms === "number" ? problem.retry_after_ms : seconds > 0 ? seconds * 1000 : 0;
  return new ApiError(response.status, String(problem.code ?? "INTERNAL"), String(problem.detail ?? ""), advised);
}

/** The login of a player: saves it, and renews its tokens. One call of the API that changes it runs at a time. */

import { type ApiCalls, randomText } from "./api_calls.js";
import { ApiError, NotLoggedIn } from "./errors.js";
import type { SessionStorage } from "./storage.js";

/** An access token with less time left is renewed before it is used. */
const RENEW_MS = 60_000;
const VERSION = 1;

/** A login as it is saved. The names are those of the Python client. */
export interface SavedLogin {
  readonly api_url: string;
  readonly player_id?: string;
  readonly refresh_token?: string;
  readonly player_url?: string;
  readonly device_id?: string;
  readonly device_secret?: string;
  /** Proves an earlier login with a password. */
  readonly known_client?: string;
}

interface LoginResult {
  readonly player_id: string;
  readonly access_token: string;
  readonly refresh_token: string;
  readonly expires_in_s: number;
  readonly is_new: boolean;
  readonly player_url: string;
  readonly known_client?: string;
}

export class Login {
  saved: SavedLogin;
  /** Of the storage, as it was read or written last. */
  private storedText = "";
  private accessToken = "";
  /** By each clock. */
  private renewAtMs: number[] = [];
  /** A monotonic clock may stop while the computer sleeps, and the clock of the computer may be set back. */
  private readonly clocks: (() => number)[];
  /** The calls run one after the other. */
  private last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly calls: ApiCalls,
    private readonly storage: SessionStorage | null,
    nowMs: () => number,
  ) {
    this.clocks = [nowMs, () => Date.now()];
    this.saved = { api_url: calls.url };
  }

  /** Renews the saved login; resolves with whether there is one that the server still accepts. */
  restore(): Promise<boolean> {
    return this.run(async () => {
      try {
        await this.renew();
        return true;
      } catch (error) {
        if (error instanceof NotLoggedIn) return false;
        throw error;
      }
    });
  }

  /** Resolves with whether the account was created. */
  logIn(path: string, createBody: (saved: SavedLogin) => object): Promise<boolean> {
    return this.run(async () => {
      await this.load();
      return this.accept(await this.calls.call("POST", path, createBody(this.saved)));
    });
  }

  /** Resolves with credentials of the device, which are saved before they are first sent. */
  prepareDevice(): Promise<{ device_id: string; secret: string }> {
    return this.run(async () => {
      await this.load();
      const { device_id = randomText(18), device_secret = randomText(32) } = this.saved;
      await this.save({ ...this.saved, device_id, device_secret });
      return { device_id: this.saved.device_id!, secret: this.saved.device_secret! };
    });
  }

  token(): Promise<string> {
    return this.run(async () => {
      if (!this.accessToken || this.clocks.some((clock, index) => clock() > this.renewAtMs[index]!)) await this.renew();
      return this.accessToken;
    });
  }

  /** Renews an access token that the server has refused, when it is next needed. */
  discardToken(token: string): void {
    if (this.accessToken === token) this.accessToken = "";
  }

  /** Logs out, here and on the server. */
  end({ everywhere = false, isEnded = false } = {}): Promise<void> {
    return this.run(async () => {
      await this.load();
      const { refresh_token } = this.saved;
      if (refresh_token && !isEnded) {
        try {
          await this.calls.call("POST", "/v1/logout", { refresh_token, everywhere });
        } catch (error) {
          if (!(error instanceof ApiError && error.status === 401)) throw error; // 401: the server has ended it already
        }
      }
      await this.forget();
    });
  }

  /** Deletes everything that was saved, after the account was deleted. */
  delete(): Promise<void> {
    return this.run(async () => {
      this.accessToken = "";
      this.saved = { api_url: this.calls.url };
      this.storedText = "";
      await this.storage?.clear();
    });
  }

  private run<T>(work: () => Promise<T>): Promise<T> {
    const done = this.last.then(work);
    this.last = done.catch(() => undefined);
    return done;
  }

  /** Adopts the login that another tab has saved in the storage: it may have used the token of this one.
   *
   * The login of another player is adopted by a client without a login only. */
  private async load(): Promise<void> {
    const text = (await this.storage?.load()) ?? "";
    if (text === this.storedText) return; // so that a text which could not be saved is not lost
    this.storedText = text;
    const stored = decode(text, this.calls.url);
    if (text && [stored.player_id, undefined, ""].includes(this.saved.player_id)) this.saved = stored;
  }

  private async renew(): Promise<void> {
    await this.load();
    const { refresh_token } = this.saved;
    if (!refresh_token) throw new NotLoggedIn("log in first");
    let response: unknown;
    try {
      response = await this.calls.call("POST", "/v1/token", { refresh_token });
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 401)) throw error;
      await this.load();
      if (this.saved.refresh_token && this.saved.refresh_token !== refresh_token) return this.renew(); // by another tab during the call
      await this.forget();
      throw new NotLoggedIn("the server has ended the login: log in again");
    }
    await this.accept(response);
  }

  /** Keeps the response to a login or a renewal; resolves with whether the account was created. */
  private async accept(response: unknown): Promise<boolean> {
    const result = (response ?? {}) as Partial<LoginResult>;
    const { player_id, refresh_token, access_token } = result;
    if (![player_id, refresh_token, access_token].every((text) => typeof text === "string" && text)) {
      throw new ApiError(502, "INTERNAL", "the response is not a login");
    }
    this.accessToken = access_token!;
    this.renewAtMs = this.clocks.map((clock) => clock() + (result.expires_in_s ?? 0) * 1000 - RENEW_MS);
    const known_client = result.known_client || this.saved.known_client;
    await this.save({ ...this.saved, player_id, refresh_token, player_url: result.player_url, known_client });
    return result.is_new === true;
  }

  /** Keeps what remains after a logout: the credentials of the device, and the proof of an earlier login. */
  private async forget(): Promise<void> {
    this.accessToken = "";
    if (!this.saved.player_id) return;
    const { api_url, device_id, device_secret, known_client } = this.saved;
    await this.save({ api_url, device_id, device_secret, known_client });
  }

  private async save(saved: SavedLogin): Promise<void> {
    this.saved = saved;
    const text = JSON.stringify({ version: VERSION, ...saved });
    if (text === this.storedText) return;
    await this.storage?.save(text);
    this.storedText = text;
  }
}

/** Returns the saved login; an empty one if the text is invalid, or of another API or a later version. */
function decode(text: string, apiUrl: string): SavedLogin {
  try {
    const { version, ...saved } = JSON.parse(text);
    if (version === VERSION && saved.api_url === apiUrl) return saved;
  } catch {
    // no saved login
  }
  return { api_url: apiUrl };
}

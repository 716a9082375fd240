/** Logs a player in over the player HTTP API, keeps and renews the tokens, and connects. */

import { ApiCalls, type Fetch } from "./api_calls.js";
import { type Client, connect, type Options } from "./client.js";
import { ApiError, ClientError } from "./errors.js";
import { Login } from "./login.js";
import type { SessionStorage } from "./storage.js";

/** An account, as the API describes it. */
export interface AccountDetails {
  readonly player_id: string;
  readonly created_at: string;
  readonly identities: readonly { readonly provider: string; readonly subject: string; readonly linked_at: string }[];
}

export interface AccountOptions {
  /** Keeps the login between runs. Its text logs the player in: it is as secret as a password. */
  storage?: SessionStorage;
  fetch?: Fetch;
  /** A monotonic clock, milliseconds. */
  nowMs?: () => number;
}

/** The account of one player. It begins with the account of the device; `linkEmail` makes it open on other devices.
 *
 * @throws TypeError: the URL is not https, or http on loopback. */
export class AccountClient {
  private readonly calls: ApiCalls;
  private readonly login: Login;

  constructor(apiUrl: string, { storage, fetch, nowMs = () => performance.now() }: AccountOptions = {}) {
    this.calls = new ApiCalls(apiUrl, fetch);
    this.login = new Login(this.calls, storage ?? null, nowMs);
  }

  /** The player who is logged in; empty without one. */
  get playerId(): string {
    return this.login.saved.player_id ?? "";
  }

  /** The WebSocket address for players; empty if the server has not sent one. */
  get playerUrl(): string {
    return this.login.saved.player_url ?? "";
  }

  /** Continues the saved login; resolves with whether there is one.
   *
   * @throws ApiError: the API does not answer. */
  restore(): Promise<boolean> {
    return this.login.restore();
  }

  // All logins resolve with whether the account was created, and throw ApiError.

  /** Logs in with the account of this device. A lost response loses no account: the device's credentials are saved first. */
  async loginDevice({ create = true } = {}): Promise<boolean> {
    const device = await this.login.prepareDevice();
    return this.login.logIn("/v1/login/device", () => ({ ...device, create }));
  }

  loginEmail(email: string, password: string, { create = false } = {}): Promise<boolean> {
    return this.login.logIn("/v1/login/email", ({ known_client }) => ({ email, password, create, known_client }));
  }

  /** @param issuer: its name in the server's settings. */
  loginOidc(issuer: string, idToken: string, { nonce, create = true }: { nonce?: string; create?: boolean } = {}): Promise<boolean> {
    return this.login.logIn(`/v1/login/oidc/${encodeURIComponent(issuer)}`, () => ({ id_token: idToken, nonce, create }));
  }

  /** @param ticket: a Steam session ticket, hexadecimal. */
  loginSteam(ticket: string, { create = true } = {}): Promise<boolean> {
    return this.login.logIn("/v1/login/steam", () => ({ ticket, create }));
  }

  loginApple(identityToken: string, { nonce, create = true }: { nonce?: string; create?: boolean } = {}): Promise<boolean> {
    return this.login.logIn("/v1/login/apple", () => ({ identity_token: identityToken, nonce, create }));
  }

  /** Ends the login. The device's credentials stay: `loginDevice` opens the same account. */
  logout({ everywhere = false } = {}): Promise<void> {
    return this.login.end({ everywhere });
  }

  /** Resolves with a valid access token, which is renewed before it ends.
   *
   * @throws NotLoggedIn, ApiError. */
  token(): Promise<string> {
    return this.login.token();
  }

  /** Opens a session of the player; see `connect`.
   *
   * @param url: by default the address that the server has sent.
   * @throws NotLoggedIn, ApiError, Disconnected, Refused. */
  async connect<Rooms extends { [K in keyof Rooms]: any } = any>(options: Omit<Options, "token"> & { url?: string } = {}): Promise<Client<Rooms>> {
    await this.token();
    const { url = this.playerUrl, ...others } = options;
    if (!url) throw new ClientError("the API has sent no address for players: pass url, or set api.player_url on the server");
    return connect<Rooms>(url, { ...others, token: () => this.token() });
  }

  // All of the following throw NotLoggedIn and ApiError.

  async getAccount(): Promise<AccountDetails> {
    return (await this.authorized("GET", "")) as AccountDetails;
  }

  /** @throws ApiError: with code IDENTITY_TAKEN if the device opens another account. */
  async linkDevice(): Promise<void> {
    await this.link("device", await this.login.prepareDevice());
  }

  /** Links an e-mail address with a password: the account then opens on other devices. */
  linkEmail(email: string, password: string): Promise<void> {
    return this.link("email", { email, password });
  }

  linkOidc(issuer: string, idToken: string, nonce?: string): Promise<void> {
    return this.link(`oidc/${encodeURIComponent(issuer)}`, { id_token: idToken, nonce });
  }

  linkSteam(ticket: string): Promise<void> {
    return this.link("steam", { ticket });
  }

  linkApple(identityToken: string, nonce?: string): Promise<void> {
    return this.link("apple", { identity_token: identityToken, nonce });
  }

  /** The last identity cannot be unlinked. */
  async unlink(provider: string, subject: string): Promise<void> {
    await this.authorized("DELETE", `/identities/${encodeURIComponent(provider)}/${encodeURIComponent(subject)}`);
  }

  /** Changes the password. The logins of all other devices end. */
  async changePassword(old: string, changed: string): Promise<void> {
    await this.authorized("POST", "/password", { old, new: changed });
  }

  /** Merges another account into this one: its holdings and identities move here, and it ends.
   *
   * @param other: a client that is logged in to the other account; it is logged out afterwards. */
  async merge(other: AccountClient): Promise<void> {
    await other.token();
    await this.authorized("POST", "/merge", { refresh_token: other.login.saved.refresh_token });
    await other.login.end({ isEnded: true });
  }

  /** Resolves with all data that the server stores about the player, as JSON lines. */
  export(): Promise<string> {
    return this.withToken((token) => this.calls.text("GET", "/v1/account/export", undefined, token));
  }

  /** Deletes the account and all data of the player permanently, and the login and the device's credentials here. */
  async delete(): Promise<void> {
    await this.authorized("DELETE", "");
    await this.login.delete();
  }

  private async link(provider: string, body: object): Promise<void> {
    await this.authorized("POST", `/identities/${provider}`, body);
  }

  private authorized(method: string, path: string, body?: object): Promise<unknown> {
    return this.withToken((token) => this.calls.call(method, `/v1/account${path}`, body, token));
  }

  /** Calls with the access token, which is renewed once if the server refuses it, as after a revocation. */
  private async withToken<T>(call: (token: string) => Promise<T>): Promise<T> {
    const token = await this.token();
    try {
      return await call(token);
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 401 && error.code === "UNAUTHORIZED")) throw error;
    }
    this.login.discardToken(token);
    return call(await this.token());
  }
}

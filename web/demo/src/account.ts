/** The account panel: play as a guest, sign in with this device, add an e-mail address, and open the account elsewhere. */

import { AccountClient, type AccountDetails, ApiError, browserStorage, ClientError } from "tickwire";

const API_PORT = 8090;
const ANSWER_MS_MAX = 2000;
const STORAGE_KEY = "tickwire login";
const by = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;

export class AccountPanel {
  private details: AccountDetails | null = null;
  private readonly root = by("account");

  private constructor(
    readonly account: AccountClient,
    private readonly onChanged: () => void,
  ) {
    by("device-in").onclick = () => this.run(() => account.loginDevice());
    by("sign-out").onclick = () => this.run(() => account.logout());
    by<HTMLFormElement>("email-form").onsubmit = (event) => {
      event.preventDefault();
      const [email, password] = [by<HTMLInputElement>("email").value, by<HTMLInputElement>("password").value];
      this.run(() => (this.details ? account.linkEmail(email, password) : account.loginEmail(email, password)));
    };
  }

  /** Returns the panel with the saved login; null if no player API answers.
   *
   * @param onChanged: called after the player has signed in or out. */
  static async open(apiUrl: string, onChanged: () => void): Promise<AccountPanel | null> {
    try {
      const response = await fetch(`${apiUrl}/v1/server`, { signal: AbortSignal.timeout(ANSWER_MS_MAX) });
      if (!response.ok) return null;
    } catch {
      return null; // this server has no API
    }
    const panel = new AccountPanel(new AccountClient(apiUrl, { storage: browserStorage(STORAGE_KEY) }), onChanged);
    try {
      await panel.account.restore();
    } catch (error) {
      panel.show(message(error));
    }
    await panel.refresh();
    panel.root.hidden = false;
    return panel;
  }

  /** The token of the next connection; empty for a guest. */
  async token(): Promise<string> {
    return this.account.playerId ? this.account.token() : "";
  }

  private run(work: () => Promise<unknown>): void {
    const before = this.account.playerId;
    this.show("…");
    this.root.inert = true;
    work()
      .then(() => this.refresh())
      .catch((error: unknown) => this.show(message(error)))
      .finally(() => {
        this.root.inert = false;
        if (this.account.playerId !== before) this.onChanged();
      });
  }

  private async refresh(): Promise<void> {
    this.details = this.account.playerId ? await this.account.getAccount() : null;
    const email = this.details?.identities.find(({ provider }) => provider === "email")?.subject;
    by("player-id").textContent = this.account.playerId || "a guest";
    by("device-in").hidden = this.details !== null;
    by("sign-out").hidden = this.details === null;
    by("email-form").hidden = email !== undefined;
    by("email-send").textContent = this.details ? "Add" : "Sign in";
    by("email-why").textContent = this.details ? "Add an e-mail address to play on another device." : "Or sign in as on your other device.";
    by<HTMLInputElement>("password").value = "";
    this.show(email ? `Sign in as ${email} on another device to play there.` : "");
  }

  private show(text: string): void {
    by("account-status").textContent = text;
  }
}

/** Returns whether a player has signed in before: then the page connects with the account. */
export function hasSavedLogin(): boolean {
  return localStorage.getItem(STORAGE_KEY) !== null;
}

/** Returns the URL of the player API: `?api=`, or its default port on the page's host. */
export function apiUrl(query: URLSearchParams): string {
  return query.get("api") ?? `${location.protocol}//${location.hostname}:${API_PORT}`;
}

function message(error: unknown): string {
  if (error instanceof ApiError) return error.detail || error.code;
  if (error instanceof ClientError) return error.message;
  throw error;
}

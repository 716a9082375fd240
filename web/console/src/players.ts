/** Players of the whole fleet: search, one player, and the actions of support on it. */

import { type AuditEntry, type LedgerEntry, type Page, type PlayerSummary, type PlayerView, request } from "./api.js";
import { fillAudit } from "./audit.js";
import { confirmed } from "./confirmation.js";
import { may } from "./operator.js";
import { button, fill } from "./tables.js";

const SHOWN = 20;
const by = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
let fail: (error: Error) => void = () => {};
let ledger: LedgerEntry[] = [];

/** Connects the search form. */
export function startPlayers(failed: (error: Error) => void): void {
  fail = failed;
  by<HTMLFormElement>("player-search").onsubmit = (event) => {
    event.preventDefault();
    void attempt(() => search(by<HTMLInputElement>("player-text").value.trim()));
  };
}

async function attempt(work: () => Promise<void>): Promise<void> {
  try {
    say("");
    await work();
  } catch (error) {
    say((error as Error).message);
    fail(error as Error);
  }
}

function say(message: string): void {
  by("player-message").textContent = message;
}

async function search(text: string): Promise<void> {
  if (!text) return;
  const found = await request<PlayerSummary[]>(`/players?search=${encodeURIComponent(text)}&limit=${SHOWN}`);
  by("player").hidden = true;
  const rows = found.map((player) => [
    button(player.player_id, "link", () => void attempt(() => show(player.player_id))),
    player.has_account ? player.identities.join(", ") || "no identity" : "no account",
    player.created_at ? new Date(player.created_at).toLocaleString() : "–",
  ]);
  fill(by("player-list"), ["player", "identities", "created"], rows);
  if (found.length === 0) say("No player is found. A player without an account and without holdings is shown by its exact id.");
  if (found.length === 0) await show(text); // a guest, for example, has a session alone
  if (found.length === 1) await show(found[0]!.player_id);
}

async function show(id: string): Promise<void> {
  const path = `/players/${encodeURIComponent(id)}`;
  const [player, page, audit] = await Promise.all([
    request<PlayerView>(path),
    request<Page<LedgerEntry>>(`${path}/ledger?limit=${SHOWN}`),
    request<Page<AuditEntry>>(`/audit?player_id=${encodeURIComponent(id)}&limit=${SHOWN}`),
  ]);
  say("");
  by("player").hidden = false;
  by("player-title").textContent = id;
  fill(by("player-facts"), ["account", "session", "ban", "version"], [[describeAccount(player), describeSession(player), describeBan(player), String(player.version)]]);
  showIdentities(player);
  fill(by("player-holdings"), ["item", "amount"], Object.entries(player.holdings).map(([item, amount]) => [item, String(amount)]));
  ledger = [];
  showLedger(path, page);
  fillAudit(by("player-audit"), audit.items);
  connectActions(player, path);
}

function describeAccount(player: PlayerView): string {
  const account = player.account;
  if (!account) return "none";
  const merged = account.merged_into ? ` into ${account.merged_into}` : "";
  return `${account.state}${merged}, since ${new Date(account.created_at).toLocaleString()}`;
}

function describeSession(player: PlayerView): string {
  const presence = player.presence;
  if (!player.is_presence_known) return "unknown: Redis does not answer";
  if (!presence) return "none";
  const room = presence.room_id ? `, ${presence.room_type} ${presence.room_id}` : "";
  return `${presence.is_connected ? "connected" : "disconnected"} at ${presence.shard_id}${room}`;
}

function describeBan(player: PlayerView): string {
  return player.ban ? `until ${new Date(player.ban.until).toLocaleString()}: ${player.ban.reason}` : "none";
}

function showIdentities(player: PlayerView): void {
  const identities = player.account?.identities ?? [];
  const rows = identities.map((identity) => [
    identity.provider,
    identity.subject,
    new Date(identity.linked_at).toLocaleString(),
    may("support") && identities.length > 1 ? button("unlink", "bad", () => unlink(player.player_id, identity)) : "",
  ]);
  fill(by("player-identities"), ["provider", "identity", "linked", ""], rows);
}

function unlink(id: string, identity: { provider: string; subject: string }): void {
  const { provider, subject } = identity;
  const path = `/players/${encodeURIComponent(id)}/identities/${provider}/${encodeURIComponent(subject)}`;
  void act(`Unlink ${provider} ${subject} from ${id}? All logins of the player end.`, id, () => request(path, "DELETE"));
}

function showLedger(path: string, page: Page<LedgerEntry>): void {
  ledger = [...ledger, ...page.items];
  const rows = ledger.map((entry) => [
    new Date(entry.at).toLocaleString(),
    Object.entries(entry.changes)
      .map(([item, amount]) => `${amount > 0 ? "+" : ""}${amount} ${item}`)
      .join(", "),
    entry.room,
    entry.key,
  ]);
  fill(by("player-ledger"), ["time", "changes", "room", "key"], rows);
  by("more-ledger").hidden = page.next_cursor === "";
  by("more-ledger").onclick = () =>
    void attempt(async () => showLedger(path, await request(`${path}/ledger?limit=${SHOWN}&cursor=${page.next_cursor}`)));
}

function connectActions(player: PlayerView, path: string): void {
  const id = player.player_id;
  const ban = `/bans/${encodeURIComponent(id)}`;
  by("kick-player").onclick = () => void act(`End the sessions of ${id}?`, id, () => request(`${path}/kick`, "POST", {}));
  by("ban-player").onclick = () => {
    const duration = by<HTMLSelectElement>("ban-duration");
    const body = { duration_s: Number(duration.value), reason: by<HTMLInputElement>("ban-reason").value };
    void act(`Ban ${id} for ${duration.selectedOptions[0]!.text}?`, id, () => request(ban, "PUT", body));
  };
  by("lift-ban").hidden = player.ban === null;
  by("lift-ban").onclick = () => void act(`Lift the ban of ${id}?`, id, () => request(ban, "DELETE"));
  by("delete-player").onclick = () =>
    void attempt(async () => {
      const question = `Delete ${id} with its account, its holdings and all its data? This cannot be undone.`;
      if (!(await confirmed(question, id))) return;
      await request(path, "DELETE");
      by("player").hidden = true;
      by("player-list").replaceChildren();
      say(`${id} was deleted.`);
    });
}

async function act(question: string, id: string, work: () => Promise<unknown>): Promise<void> {
  if (!(await confirmed(question))) return;
  await attempt(async () => {
    await work();
    await show(id);
  });
}

/** The newest changes of operators. */

import { type AuditEntry, type Page, request } from "./api.js";
import { fill } from "./tables.js";

const SHOWN = 20;
const REFRESH_MS = 5000;
let older: AuditEntry[] = [];
let isReading = false;
let readAtMs = -REFRESH_MS;

/** Shows the newest changes, and below them the older ones that were asked for. */
export async function showAudit(): Promise<void> {
  if (older.length > 0) return; // a list that is read stays as it is
  if (performance.now() - readAtMs < REFRESH_MS) return;
  readAtMs = performance.now();
  const page = await request<Page<AuditEntry>>(`/audit?limit=${SHOWN}`);
  fillAudit(document.getElementById("audit-list")!, page.items);
  const more = document.getElementById("more-audit") as HTMLButtonElement;
  more.hidden = page.next_cursor === "";
  more.onclick = () => void showOlder(page, more);
}

async function showOlder(page: Page<AuditEntry>, more: HTMLButtonElement): Promise<void> {
  if (isReading) return;
  isReading = true;
  try {
    const next = await request<Page<AuditEntry>>(`/audit?limit=${SHOWN}&cursor=${page.next_cursor}`);
    older = [...(older.length ? older : page.items), ...next.items];
    fillAudit(document.getElementById("audit-list")!, older);
    more.hidden = next.next_cursor === "";
    more.onclick = () => void showOlder(next, more);
  } finally {
    isReading = false;
  }
}

export function fillAudit(table: HTMLElement, entries: readonly AuditEntry[]): void {
  const rows = entries.map((entry) => [
    new Date(entry.at).toLocaleString(),
    `${entry.operator} (${entry.role})`,
    entry.action,
    Object.values(entry.target).join(" "),
    entry.request,
    String(entry.result),
  ]);
  fill(table, ["time", "operator", "action", "target", "request", "result"], rows);
}

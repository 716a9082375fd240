/** The tick and the selected entity in the address: #tick=123&entity=ships:7. */

export interface Link {
  tick: number | null;
  entity: readonly [table: string, id: number] | null;
}

export function readLink(hash: string): Link {
  const given = new URLSearchParams(hash.slice(1));
  const tick = Number.parseInt(given.get("tick") ?? "", 10);
  const [table, id] = (given.get("entity") ?? "").split(":");
  const number = Number.parseInt(id ?? "", 10);
  return {
    tick: Number.isNaN(tick) ? null : tick,
    entity: table && !Number.isNaN(number) ? [table, number] : null,
  };
}

export function formatLink(tick: number, table: string, id: number): string {
  return `#tick=${tick}${table ? `&entity=${encodeURIComponent(table)}:${id}` : ""}`;
}

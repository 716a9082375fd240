/** The rows of the chosen table. A cell is marked if its value differs from that of the tick before. */

import type { State, TableDescription, TableState } from "./api.js";
import { by, element, shown } from "./elements.js";
import type { Selection } from "./selection.js";

const ROWS_SHOWN = 100;

export class Rows {
  private chosen: string;

  constructor(
    private readonly tables: readonly TableDescription[],
    private readonly selection: Selection,
    private readonly changed: () => void,
  ) {
    this.chosen = tables[0]?.name ?? "";
    by("tabs").replaceChildren(
      ...tables.map((table) => {
        const button = element("button", table.name);
        button.onclick = () => this.choose(table.name);
        return button;
      }),
    );
  }

  choose(name: string): void {
    this.chosen = name;
    this.changed();
  }

  draw(state: State, before: State | undefined): void {
    this.drawTabs(state);
    const table = this.tables.find((one) => one.name === this.chosen);
    const found = state.tables.find((one) => one.name === this.chosen);
    if (!table || !found) return;
    const old = before?.tables.find((one) => one.name === this.chosen);
    const oldRows = new Map(old?.ids.map((id, row) => [id, row]));
    const head = element("tr");
    head.append(element("th", "id"), ...table.columns.map((column) => element("th", column.name, column.kind === "local" ? "local" : "")));
    const rows = found.ids.slice(0, ROWS_SHOWN).map((id, row) => this.row(table, { found, row }, old && { found: old, row: oldRows.get(id) }));
    const focused = document.activeElement?.closest<HTMLElement>("#rows tr")?.dataset.id;
    by("rows").replaceChildren(head, ...rows);
    if (focused) rows.find((row) => row.dataset.id === focused)?.querySelector("button")?.focus({ preventScroll: true });
    const hidden = found.entities - rows.length;
    by("rows-note").textContent = hidden > 0 ? `${hidden} more rows are not shown.` : "";
  }

  private drawTabs(state: State): void {
    [...by("tabs").children].forEach((button, place) => {
      const name = this.tables[place]!.name;
      const count = state.tables.find((table) => table.name === name)?.entities ?? 0;
      button.textContent = `${name} (${count})`;
      button.setAttribute("aria-pressed", String(name === this.chosen));
    });
  }

  private row(
    table: TableDescription,
    now: { found: TableState; row: number },
    before: { found: TableState; row: number | undefined } | undefined,
  ): HTMLTableRowElement {
    const id = now.found.ids[now.row]!;
    const made = element("tr", "", this.selection.is(table.name, id) ? "selected" : "");
    made.onclick = () => this.selection.select(table.name, id);
    made.dataset.id = `${table.name}:${id}`;
    made.append(
      element("td", element("button", String(id), "link"), before && before.row === undefined ? "changed" : ""),
      ...table.columns.map((column) => {
        const value = now.found.columns[column.name]?.[now.row];
        const old = before?.row === undefined ? value : before.found.columns[column.name]?.[before.row];
        return element("td", shown(value, column), String(value) === String(old) ? "" : "changed");
      }),
    );
    return made;
  }
}

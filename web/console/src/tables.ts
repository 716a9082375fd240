/** Tables of the console: a row of cells, each a text or an element. */

function cell(content: string | Node): HTMLTableCellElement {
  const made = document.createElement("td");
  made.append(content);
  return made;
}

export function button(text: string, kind: string, press: () => void): HTMLButtonElement {
  const made = document.createElement("button");
  made.textContent = text;
  made.className = kind;
  made.onclick = press;
  return made;
}

export function fill(table: HTMLElement, heads: readonly string[], rows: readonly (string | Node)[][]): void {
  if (table.querySelector("button:active")) return; // replacing a pressed button would lose the click
  const head = document.createElement("tr");
  head.append(
    ...heads.map((text) => {
      const made = document.createElement("th");
      made.textContent = text;
      return made;
    }),
  );
  table.replaceChildren(
    head,
    ...rows.map((cells) => {
      const row = document.createElement("tr");
      row.append(...cells.map(cell));
      return row;
    }),
  );
}

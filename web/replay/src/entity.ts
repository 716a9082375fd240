/** The fields of the selected entity, each with a chart of its last seconds. */

import type { State, TableDescription } from "./api.js";
import { by, colour, element, prepare, shown } from "./elements.js";
import type { Selection } from "./selection.js";

export class Entity {
  constructor(
    private readonly tables: readonly TableDescription[],
    private readonly selection: Selection,
  ) {}

  /** Draws the entity.
   *
   * @param states: the states up to the shown tick, the oldest first. */
  draw(states: readonly State[]): void {
    const { table: name, id } = this.selection;
    const table = this.tables.find((one) => one.name === name);
    by("entity").hidden = !table;
    if (!table) return;
    const rows = states.map((state) => {
      const found = state.tables.find((one) => one.name === name);
      const row = found ? found.ids.indexOf(id) : -1;
      return found && row >= 0 ? { columns: found.columns, row } : null;
    });
    const isHere = rows.at(-1) !== null;
    by("entity-title").textContent = `${name} ${id}${isHere ? "" : ", not in the room at this tick"}`;
    const figures = table.columns.map((column) => {
      const values = rows.map((row) => (row ? row.columns[column.name]?.[row.row] : null));
      const figure = element("figure");
      const caption = element("figcaption", column.name);
      caption.append(element("b", shown(values.at(-1) ?? null, column)));
      const canvas = element("canvas");
      figure.append(caption, canvas);
      return { figure, canvas, values };
    });
    by("fields").replaceChildren(...figures.map((one) => one.figure));
    for (const { canvas, values } of figures) {
      if (values.some((value) => typeof value === "number" || typeof value === "boolean")) drawLine(canvas, values);
      else canvas.remove();
    }
  }
}

function drawLine(canvas: HTMLCanvasElement, values: readonly unknown[]): void {
  const prepared = prepare(canvas);
  if (!prepared) return;
  const { context, width, height } = prepared;
  const numbers = values.map((value) => (value === null ? NaN : Number(value)));
  const known = numbers.filter((value) => !Number.isNaN(value));
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const toY = (value: number) => height - 3 - ((value - low) / (high - low || 1)) * (height - 6);
  const step = width / Math.max(1, numbers.length - 1);
  context.strokeStyle = colour("--accent");
  context.lineWidth = 1.3;
  context.beginPath();
  numbers.forEach((value, at) => {
    if (Number.isNaN(value)) return;
    const isStart = at === 0 || Number.isNaN(numbers[at - 1]!);
    if (isStart) context.moveTo(at * step, toY(value));
    else context.lineTo(at * step, toY(value));
  });
  context.stroke();
}

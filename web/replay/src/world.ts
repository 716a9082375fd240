/** Draws the entities of all tables that have a position, with their ids. A click selects the nearest one. */

import type { State, TableDescription } from "./api.js";
import { colour, element, prepare } from "./elements.js";
import type { Selection } from "./selection.js";

const COLOURS = ["#4a7dff", "#e08a1e", "#2fa866", "#c2559d", "#8a6ee0", "#5aa9b8"];
const LABELS_MAX = 100;
const CLICK_PIXELS = 24;
const MARGIN = 10;

interface Drawn {
  table: string;
  id: number;
  left: number;
  top: number;
}

interface Bounds {
  low: number[];
  high: number[];
}

export class World {
  private drawn: Drawn[] = [];
  private readonly bounds: Bounds;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    legend: HTMLElement,
    private readonly tables: readonly TableDescription[],
    private readonly selection: Selection,
  ) {
    this.bounds = boundsOf(tables);
    canvas.onclick = (event) => this.click(event.offsetX, event.offsetY);
    tables.forEach((table, place) => {
      if (!table.position.length) return;
      const dot = element("i");
      dot.style.background = COLOURS[place % COLOURS.length]!;
      const item = element("li", dot);
      item.append(table.name);
      legend.append(item);
    });
    canvas.parentElement!.hidden = !tables.some((table) => table.position.length);
  }

  draw(state: State): void {
    const prepared = prepare(this.canvas);
    this.drawn = [];
    if (!prepared) return;
    const { context, width, height } = prepared;
    const place = this.scale(width, height);
    context.font = "10px system-ui, sans-serif";
    this.tables.forEach((table, number) => {
      const found = state.tables.find((one) => one.name === table.name);
      const [x, y] = table.position.map((name) => found?.columns[name]);
      if (!found || !x || !y) return;
      const headings = found.columns[table.heading];
      context.fillStyle = context.strokeStyle = COLOURS[number % COLOURS.length]!;
      found.ids.forEach((id, row) => {
        if (x[row] === null || y[row] === null) return; // not a number: the tick has failed
        const [left, top] = place(x[row], y[row]);
        this.drawn.push({ table: table.name, id, left, top });
        this.drawEntity(context, { left, top, heading: headings?.[row] }, this.selection.is(table.name, id));
      });
    });
    if (this.drawn.length > LABELS_MAX) return;
    context.fillStyle = colour("--faint");
    for (const one of this.drawn) context.fillText(String(one.id), one.left + 5, one.top - 4);
  }

  private drawEntity(
    context: CanvasRenderingContext2D,
    { left, top, heading }: { left: number; top: number; heading: number | undefined },
    isSelected: boolean,
  ): void {
    context.beginPath();
    context.arc(left, top, 3, 0, 7);
    context.fill();
    context.beginPath();
    if (heading !== undefined) {
      context.moveTo(left, top);
      context.lineTo(left + Math.cos(heading) * 9, top + Math.sin(heading) * 9);
    }
    if (isSelected) {
      context.moveTo(left + 9, top);
      context.arc(left, top, 9, 0, 7);
    }
    context.stroke();
  }

  /** Returns a function from the game's units to pixels, with the same scale on both axes. */
  private scale(width: number, height: number): (x: number, y: number) => [number, number] {
    const [lowX, lowY] = this.bounds.low as [number, number];
    const [highX, highY] = this.bounds.high as [number, number];
    const factor = Math.min((width - 2 * MARGIN) / (highX - lowX), (height - 2 * MARGIN) / (highY - lowY));
    const [left, top] = [(width - factor * (highX - lowX)) / 2, (height - factor * (highY - lowY)) / 2];
    return (x, y) => [left + (x - lowX) * factor, top + (y - lowY) * factor];
  }

  private click(left: number, top: number): void {
    const far = (one: Drawn) => Math.hypot(one.left - left, one.top - top);
    const nearest = this.drawn.reduce<Drawn | null>((best, one) => (best && far(best) <= far(one) ? best : one), null);
    if (nearest && far(nearest) <= CLICK_PIXELS) this.selection.select(nearest.table, nearest.id);
  }
}

/** Returns the bounds of the declared positions of all tables. */
function boundsOf(tables: readonly TableDescription[]): Bounds {
  const found: Bounds = { low: [Infinity, Infinity], high: [-Infinity, -Infinity] };
  for (const table of tables) {
    table.position.slice(0, 2).forEach((name, axis) => {
      const column = table.columns.find((one) => one.name === name)!;
      found.low[axis] = Math.min(found.low[axis]!, column.low);
      found.high[axis] = Math.max(found.high[axis]!, column.high);
    });
  }
  return found;
}

/** Draws a room's world from its description. A table with two REAL fields x and y becomes points on a map, and a `heading` or
 * another angle a stroke. Other tables appear in the legend only. */

import type { RoomState } from "./api.js";

const COLOURS = ["#4a7dff", "#e08a1e", "#2fa866", "#c2559d", "#8a6ee0", "#5aa9b8"];

export function drawWorld(canvas: HTMLCanvasElement, legend: HTMLElement, state: RoomState): void {
  const size = canvas.clientWidth;
  canvas.width = canvas.height = size * devicePixelRatio;
  const context = canvas.getContext("2d")!;
  context.scale(devicePixelRatio, devicePixelRatio);
  legend.replaceChildren();
  state.tables.forEach((table, place) => {
    const colour = COLOURS[place % COLOURS.length]!;
    const item = document.createElement("li");
    const dot = document.createElement("i");
    dot.style.background = colour;
    item.append(dot, `${table.name}: ${table.entities}`);
    legend.append(item);
    const [x, y] = ["x", "y"].map((name) => table.fields.find((field) => field.name === name && field.kind === "real"));
    if (!x || !y) return;
    const angle = table.fields.find((field) => field.kind === "angle");
    const at = (field: typeof x, value: number) => ((value - field.low) / (field.high - field.low)) * (size - 12) + 6;
    context.fillStyle = context.strokeStyle = colour;
    table.ids.forEach((_, row) => {
      const [left, top] = [at(x, table.columns.x![row]), at(y, table.columns.y![row])];
      context.beginPath();
      context.arc(left, top, state.tables.length > 1 && place ? 1.8 : 3, 0, 7);
      context.fill();
      if (angle) {
        const way = table.columns[angle.name]![row];
        context.beginPath();
        context.moveTo(left, top);
        context.lineTo(left + Math.cos(way) * 8, top + Math.sin(way) * 8);
        context.stroke();
      }
    });
  });
}

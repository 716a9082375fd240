/** Creates and fills the elements of the page. */

import type { Column } from "./api.js";

export const by = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;

export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  text: string | Node = "",
  kind = "",
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  made.append(text);
  if (kind) made.className = kind;
  return made;
}

/** Sizes a canvas for the screen and returns its context, in CSS pixels; null while it is not shown. */
export function prepare(canvas: HTMLCanvasElement): { context: CanvasRenderingContext2D; width: number; height: number } | null {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width || !height) return null;
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  const context = canvas.getContext("2d")!;
  context.scale(devicePixelRatio, devicePixelRatio);
  return { context, width, height };
}

export const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name);

/** Formats the value of a column: an enumeration as its label, and all values of a real column with the same digits. */
export function shown(value: unknown, column: Column): string {
  if (typeof value === "number") {
    if (column.labels.length) return column.labels[value] ?? String(value);
    const isReal = column.kind === "real" || column.kind === "angle";
    return isReal || !Number.isInteger(value) ? value.toFixed(3) : String(value);
  }
  if (Array.isArray(value)) return value.map((one) => shown(one, column)).join(", ");
  if (typeof value === "boolean") return value ? "yes" : "no";
  return value === null ? "–" : String(value);
}

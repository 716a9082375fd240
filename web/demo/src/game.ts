/** The interface between a game of the demo and its page. */

import type { Client, Room } from "tickwire";

import type { Rooms } from "./generated/rooms.js";

/** The types of the rooms that have a game here. */
export type { Rooms };

export interface GameContext<T extends keyof Rooms> {
  readonly client: Client<Rooms>;
  readonly room: Room<Rooms[T]>;
  readonly stage: HTMLElement;
  readonly name: string;
  /** Adds a line to the chat. */
  say(by: string, words: string): void;
  /** Shows an error of background work in the chat. */
  report(work: Promise<unknown>): void;
  players(count: number): void;
}

/** Starts a game in the joined room. Returns the running game. */
export type Game<T extends keyof Rooms> = (context: GameContext<T>) => RunningGame;

export interface RunningGame {
  /** Sends a chat line; undefined if the game has no chat. */
  say?(words: string): Promise<unknown>;
  stop(): void;
}

/** Adds a canvas that fills the stage, in device pixels. */
export function canvasIn(stage: HTMLElement): { canvas: HTMLCanvasElement; context: CanvasRenderingContext2D } {
  const canvas = document.createElement("canvas");
  canvas.tabIndex = 0;
  stage.append(canvas);
  return { canvas, context: canvas.getContext("2d")! };
}

/** Calls `draw` before each frame, with the canvas's size in CSS pixels. Returns a function that stops it. */
export function animate(
  canvas: HTMLCanvasElement,
  context: CanvasRenderingContext2D,
  draw: (width: number, height: number, now: number) => void,
): () => void {
  let frame = 0;
  const next = (now: number) => {
    frame = requestAnimationFrame(next);
    const { clientWidth: width, clientHeight: height } = canvas;
    const scale = devicePixelRatio;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    context.setTransform(scale, 0, 0, scale, 0, 0);
    draw(width, height, now);
  };
  frame = requestAnimationFrame(next);
  return () => cancelAnimationFrame(frame);
}

/** Returns a function that reads the page's colours, which follow its light or dark scheme. */
export function colours(): (name: string) => string {
  const style = getComputedStyle(document.documentElement);
  const known = new Map<string, string>();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => known.clear());
  return (name) => {
    let found = known.get(name);
    if (found === undefined) known.set(name, (found = style.getPropertyValue(`--${name}`).trim()));
    return found;
  };
}

export function hint(stage: HTMLElement, text: string): void {
  const line = document.createElement("p");
  line.className = "hint";
  line.textContent = text;
  stage.append(line);
}

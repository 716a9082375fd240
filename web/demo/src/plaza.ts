/** plaza: a thousand walkers, of which each player receives those nearby. The grid cells that the player receives are drawn. */

import { Interpolation, TickClock } from "tickwire";

import { Controls } from "./controls.js";
import { animate, canvasIn, colours, type Game, hint } from "./game.js";

const SIZE = 1000;
const CELL = 100;
const VIEW = 150;
const SEEN = 430; // world units across the shorter side of the canvas; more than the player receives
const TALK_MS = 6000;

export const plaza: Game<"plaza"> = ({ client, room, stage, say, players }) => {
  const { canvas, context } = canvasIn(stage);
  const colour = colours();
  hint(stage, "arrows or WASD, or point where to walk · the circle is how far you see");
  const said = new Map<number, { words: string; untilMs: number }>();
  const walkers = new Interpolation("walkers", ["x", "y", "heading", "mood", "is_player"]);
  const clock = new TickClock(room.tickRateHz);
  const subscriptions = [
    client.on("state", ({ tick }) => {
      clock.observe(tick, performance.now());
      walkers.push(client.world);
      players(room.table("walkers").size);
    }),
    room.on("said", ({ by, words }) => {
      said.set(by, { words, untilMs: performance.now() + TALK_MS });
      say(nameOf(by), words);
    }),
  ];

  function nameOf(id: number): string {
    return room.table("walkers").value(id, "name") || "unknown";
  }

  const controls = new Controls(canvas, () => ({ x: canvas.clientWidth / 2, y: canvas.clientHeight / 2 }));
  const sending = setInterval(() => {
    const { pointer } = controls;
    let x = controls.down("ArrowRight", "KeyD") - controls.down("ArrowLeft", "KeyA");
    let y = controls.down("ArrowDown", "KeyS") - controls.down("ArrowUp", "KeyW");
    if (pointer.isDown) [x, y] = [pointer.x, pointer.y];
    const isWalking = x !== 0 || y !== 0;
    room.sendInput(isWalking ? { speed: 1, heading: Math.atan2(y, x) } : { speed: 0 });
  }, 100);

  const stopDrawing = animate(canvas, context, (width, height, now) => {
    const scale = Math.min(width, height) / SEEN;
    const shown = new Map<number, { x: number; y: number; heading: number; mood: number; isPlayer: boolean }>();
    if (room.isJoined) {
      walkers.sample(clock.renderTick(now), (id, number) => {
        const isPlayer = number("is_player") > 0;
        shown.set(id, { x: number("x"), y: number("y"), heading: number("heading"), mood: number("mood"), isPlayer });
      });
    }
    const own = room.entity;
    const me = shown.get(own) ?? { x: 0, y: 0 };
    const toX = (x: number) => width / 2 + (x - me.x) * scale;
    const toY = (y: number) => height / 2 + (y - me.y) * scale;
    context.fillStyle = colour("space");
    context.fillRect(0, 0, width, height);
    for (let x = -SIZE; x < SIZE; x += CELL) {
      for (let y = -SIZE; y < SIZE; y += CELL) {
        const [nearX, nearY] = [clamp(me.x, x, x + CELL), clamp(me.y, y, y + CELL)];
        if (Math.hypot(nearX - me.x, nearY - me.y) <= VIEW) {
          context.fillStyle = colour("grid");
          context.fillRect(toX(x) + 1, toY(y) + 1, CELL * scale - 2, CELL * scale - 2);
        }
      }
    }
    context.strokeStyle = colour("accent");
    context.setLineDash([6, 6]);
    context.beginPath();
    context.arc(toX(me.x), toY(me.y), VIEW * scale, 0, 7);
    context.stroke();
    context.setLineDash([]);
    context.font = "12px system-ui, sans-serif";
    context.textAlign = "center";
    for (const [id, walker] of shown) {
      const [x, y] = [toX(walker.x), toY(walker.y)];
      context.fillStyle = colour(id === own ? "accent" : walker.isPlayer ? "good" : ["faint", "other", "shot"][walker.mood]!);
      context.beginPath();
      context.arc(x, y, walker.isPlayer ? 7 : 4.5, 0, 7);
      context.fill();
      context.fillRect(x + Math.cos(walker.heading) * 7 - 1.5, y + Math.sin(walker.heading) * 7 - 1.5, 3, 3);
      if (walker.isPlayer) {
        context.fillStyle = colour("ink");
        context.fillText(nameOf(id), x, y + 22);
      }
      const talk = said.get(id);
      if (talk && talk.untilMs > now) {
        context.fillStyle = colour("ink");
        context.fillText(`“${talk.words}”`, x, y - 14);
      }
    }
  });

  return {
    say: (words) => room.commands.say({ words }),
    stop: () => {
      stopDrawing();
      clearInterval(sending);
      for (const end of subscriptions) end();
      controls.stop();
    },
  };
};

function clamp(value: number, low: number, high: number): number {
  return Math.max(low, Math.min(high, value));
}

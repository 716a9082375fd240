/** arena: the own ship is predicted, other ships are interpolated, bullets are drawn as received. */

import { Interpolation, Prediction, shortWay, TickClock } from "tickwire";

import { Controls, whenReleased } from "./controls.js";
import { animate, canvasIn, colours, type Game, hint, type Rooms } from "./game.js";

const SIZE = 500;
const VIEW = 420; // world units across the shorter side of the canvas, at least
const SHIP_SPEED_MAX = 60;
const TURN_RATE = 3;
const GRID = 100;
const MARGIN = 25;
const SNAP_DISTANCE = 80; // a ship that the server moves further was respawned

type ShipInput = Required<Rooms["arena"]["inputs"]>;
type Ship = { x: number; y: number; heading: number; speed: number };

export const arena: Game<"arena"> = ({ client, room, stage, say, report, players }) => {
  const { canvas, context } = canvasIn(stage);
  const colour = colours();
  const fire = document.createElement("button");
  fire.className = "fire";
  fire.textContent = "Fire";
  stage.append(fire);
  hint(stage, "arrows or WASD, space fires · or point where to fly");

  const dt = 1 / room.tickRateHz;
  const step = (ship: Readonly<Ship>, input: ShipInput): Ship => {
    const heading = ship.heading + input.turn * TURN_RATE * dt;
    const speed = ship.speed + (input.thrust * SHIP_SPEED_MAX - ship.speed) * 2 * dt;
    const held = (value: number) => Math.max(-SIZE, Math.min(SIZE, value));
    return {
      x: held(ship.x + Math.cos(heading) * speed * dt),
      y: held(ship.y + Math.sin(heading) * speed * dt),
      heading,
      speed,
    };
  };
  const prediction = new Prediction<Ship, ShipInput, Omit<Ship, "speed">>(step, {
    inputs: room.description.inputs,
    local: { speed: 0 }, // not replicated, but follows from the own inputs
    tickMs: dt * 1000,
    angles: ["heading"],
    snapDistance: SNAP_DISTANCE,
  });
  const names = new Map<number, string>();
  let middle = { x: 0, y: 0 }; // where the own ship is drawn

  const ships = new Interpolation("ships", ["x", "y", "heading", "hp"]);
  const clock = new TickClock(room.tickRateHz);

  async function fetchNames(): Promise<void> {
    for (const [id, name] of Object.entries(await room.commands.names())) names.set(Number(id), name);
  }
  report(fetchNames());

  /** Returns the own ship in the world. */
  function ownState(): Omit<Ship, "speed"> | null {
    const me = room.entity;
    const table = room.table("ships");
    if (!table.has(me)) return null;
    return { x: table.number(me, "x"), y: table.number(me, "y"), heading: table.number(me, "heading") };
  }

  const subscriptions = [
    client.on("joined", () => report(fetchNames())),
    prediction.follow(client, ownState),
    client.on("state", ({ tick }) => {
      clock.observe(tick, performance.now());
      ships.push(client.world);
      players(room.table("ships").size);
    }),
    room.on("named", ({ id, name }) => names.set(id, name)),
    room.on("said", ({ name, words }) => say(name, words)),
    room.on("scored", ({ name, score }) => say("★", `${name} scores: ${score}`)),
  ];

  // -- inputs ---------------------------------------------------------------------------------------------

  const controls = new Controls(canvas, () => middle);
  let isFiring = false;
  fire.addEventListener("pointerdown", () => (isFiring = true));
  whenReleased(fire, () => (isFiring = false));

  function readInput(): ShipInput {
    const { pointer } = controls;
    let turn = controls.down("ArrowRight", "KeyD") - controls.down("ArrowLeft", "KeyA");
    let thrust = controls.down("ArrowUp", "KeyW") - 0.5 * controls.down("ArrowDown", "KeyS");
    if (pointer.isDown && prediction.now) {
      const way = shortWay(Math.atan2(pointer.y, pointer.x) - prediction.now.heading);
      turn = Math.max(-1, Math.min(1, way * 2));
      thrust = Math.abs(way) < 1.2 ? 1 : 0.2;
    }
    return { thrust, turn, fire: isFiring ? 1 : controls.down("Space") };
  }

  const sending = setInterval(() => {
    const input = readInput();
    prediction.sent(room.sendInput(input), input);
  }, dt * 1000);

  // -- drawing --------------------------------------------------------------------------------------------

  /** Returns the centre of the view: the ship, limited so that little is visible beyond the walls. */
  function centreOfView(position: number, span: number): number {
    const most = Math.max(0, SIZE + MARGIN - span / 2);
    return Math.max(-most, Math.min(most, position));
  }

  const stopDrawing = animate(canvas, context, (width, height, now) => {
    const me = prediction.sample(now) ?? { x: 0, y: 0, heading: 0, speed: 0 };
    const scale = Math.min(width, height) / VIEW;
    const [left, top] = [centreOfView(me.x, width / scale), centreOfView(me.y, height / scale)];
    const toX = (x: number) => width / 2 + (x - left) * scale;
    const toY = (y: number) => height / 2 + (y - top) * scale;
    middle = { x: toX(me.x), y: toY(me.y) };
    context.fillStyle = colour("space");
    context.fillRect(0, 0, width, height);
    context.strokeStyle = colour("grid");
    context.lineWidth = 1;
    context.beginPath();
    for (let line = -SIZE; line <= SIZE; line += GRID) {
      context.moveTo(toX(line), toY(-SIZE));
      context.lineTo(toX(line), toY(SIZE));
      context.moveTo(toX(-SIZE), toY(line));
      context.lineTo(toX(SIZE), toY(line));
    }
    context.stroke();
    context.strokeStyle = colour("faint");
    context.strokeRect(toX(-SIZE), toY(-SIZE), 2 * SIZE * scale, 2 * SIZE * scale);
    if (!room.isJoined) return;
    context.fillStyle = colour("shot");
    room.table("bullets").each((_, number) => {
      context.beginPath();
      context.arc(toX(number("x")), toY(number("y")), Math.max(2, 2.2 * scale), 0, 7);
      context.fill();
    });
    const own = room.entity;
    ships.sample(clock.renderTick(now), (id, number) => {
      if (id === own) return;
      drawShip(toX(number("x")), toY(number("y")), number("heading"), number("hp"), names.get(id) ?? "", "other");
    });
    const table = room.table("ships");
    if (table.has(own)) drawShip(toX(me.x), toY(me.y), me.heading, table.number(own, "hp"), names.get(own) ?? "", "accent");

    function drawShip(x: number, y: number, heading: number, hp: number, name: string, kind: string): void {
      const size = Math.max(7, 9 * scale);
      context.save();
      context.translate(x, y);
      context.rotate(heading);
      context.fillStyle = colour(kind);
      context.beginPath();
      context.moveTo(size * 1.3, 0);
      context.lineTo(-size, size * 0.8);
      context.lineTo(-size * 0.55, 0);
      context.lineTo(-size, -size * 0.8);
      context.fill();
      context.restore();
      context.fillStyle = colour("line");
      context.fillRect(x - size, y - size * 1.9, size * 2, 3);
      context.fillStyle = colour(hp > 40 ? "good" : "bad");
      context.fillRect(x - size, y - size * 1.9, (size * 2 * hp) / 100, 3);
      context.fillStyle = colour("faint");
      context.font = "12px system-ui, sans-serif";
      context.textAlign = "center";
      context.fillText(name, x, y + size * 2.4);
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

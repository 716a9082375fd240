// The game of `fanout` on Colyseus: all players move each tick, 20 patches a second, an input turns a player.
// node server.mjs PORT SEATS; the room types are "float32" and "int16", the latter quantised by hand.

import { createServer } from "node:http";
import { Room, Server } from "@colyseus/core";
import { schema, t } from "@colyseus/schema";
import { WebSocketTransport } from "@colyseus/ws-transport";

const [port, seats] = process.argv.slice(2).map(Number);
const SIZE = 500, STEPS = 32, TICK_MS = 50;

const FloatPlayer = schema({ x: t.float32(), y: t.float32(), heading: t.float32(), hp: t.uint8() });
const FloatState = schema({ players: t.map(FloatPlayer) });
const IntPlayer = schema({ x: t.int16(), y: t.int16(), heading: t.uint8(), hp: t.uint8() });
const IntState = schema({ players: t.map(IntPlayer) });

class Fan extends Room {
  maxClients = seats;
  patchRate = TICK_MS;

  onCreate() {
    this.movers = new Map(); // what is simulated: floats
    this.state = this.makeState();
    this.onMessage(0, (client, turn) => { this.movers.get(client.sessionId).heading += 0.3 * turn; });
    this.setSimulationInterval(() => this.move(TICK_MS / 1000), TICK_MS);
  }

  onJoin(client) {
    const place = () => (Math.random() * 2 - 1) * SIZE * 0.9;
    this.movers.set(client.sessionId, { x: place(), y: place(), heading: Math.random() * 6.28, speed: 4 + 8 * Math.random() });
    const player = this.makePlayer();
    player.hp = 100;
    this.state.players.set(client.sessionId, player);
  }

  onLeave(client) {
    this.movers.delete(client.sessionId);
    this.state.players.delete(client.sessionId);
  }

  move(dt) {
    for (const [id, mover] of this.movers) {
      mover.x += Math.cos(mover.heading) * mover.speed * dt;
      mover.y += Math.sin(mover.heading) * mover.speed * dt;
      if (Math.abs(mover.x) > SIZE * 0.95 || Math.abs(mover.y) > SIZE * 0.95) {
        mover.heading += Math.PI;
        mover.x = Math.max(-SIZE * 0.95, Math.min(SIZE * 0.95, mover.x));
        mover.y = Math.max(-SIZE * 0.95, Math.min(SIZE * 0.95, mover.y));
      }
      this.show(this.state.players.get(id), mover);
    }
  }
}

class FloatFan extends Fan {
  makeState() { return new FloatState(); }
  makePlayer() { return new FloatPlayer(); }
  show(player, mover) {
    player.x = mover.x;
    player.y = mover.y;
    player.heading = mover.heading;
  }
}

class IntFan extends Fan {
  makeState() { return new IntState(); }
  makePlayer() { return new IntPlayer(); }
  show(player, mover) {
    player.x = Math.round(mover.x * STEPS);
    player.y = Math.round(mover.y * STEPS);
    player.heading = Math.round(mover.heading * 256 / (2 * Math.PI)) & 255;
  }
}

// The load does not answer pings.
const transport = new WebSocketTransport({ server: createServer(), pingInterval: 0 });
const server = new Server({ transport, greet: false });
server.define("float32", FloatFan);
server.define("int16", IntFan);
await server.listen(port, "127.0.0.1");

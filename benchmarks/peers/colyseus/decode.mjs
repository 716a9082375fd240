// Decodes recorded messages of rooms with Colyseus' own decoder: node decode.mjs FILE
//
// The file has records of little-endian uint32 room, uint32 size, and a message of that size. Prints JSON: the number of
// rooms, of decoded patches, and of patches after which no player has moved.

import { readFileSync } from "node:fs";
import { Reflection, decode } from "@colyseus/schema";

const JOIN_ROOM = 10, ROOM_STATE = 14, ROOM_STATE_PATCH = 15, CODE_MASK = 31;
const rooms = new Map();
const found = { rooms: 0, patches: 0, unmoved: 0, players: 0 };

function joinRoom(room, message) {
  const it = { offset: 1 };
  it.offset += 1 + message[it.offset]; // the reconnection token
  it.offset += 1 + message[it.offset]; // the name of the serializer
  const end = decode.number(message, it) + it.offset;
  rooms.set(room, Reflection.decode(message.subarray(0, end), it));
}

const positions = (state) => [...state.players.values()].map(({ x, y }) => `${x} ${y}`).join();

const file = readFileSync(process.argv[2]);
for (let at = 0; at < file.length;) {
  const room = file.readUInt32LE(at), size = file.readUInt32LE(at + 4);
  const message = new Uint8Array(file.buffer, file.byteOffset + at + 8, size);
  at += 8 + size;
  const code = message[0] & CODE_MASK;
  if (message[0] !== code) throw new Error(`message ${message[0]} has modifiers`);
  if (code === JOIN_ROOM) {
    joinRoom(room, message);
  } else if (code === ROOM_STATE) {
    rooms.get(room).decode(message, { offset: 1 });
  } else if (code === ROOM_STATE_PATCH) {
    const decoder = rooms.get(room), before = positions(decoder.state);
    decoder.decode(message, { offset: 1 });
    found.patches += 1;
    found.unmoved += positions(decoder.state) === before;
  }
}
found.rooms = rooms.size;
for (const { state } of rooms.values()) found.players += state.players.size;
console.log(JSON.stringify(found));

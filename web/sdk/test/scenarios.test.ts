/** Plays schemas/scenarios, the conversations on which the session machines of all clients agree. */

import { readdirSync, readFileSync } from "node:fs";

import { ByteBuffer } from "flatbuffers";
import { describe, expect, it } from "vitest";

import { ClientError, CommandFailed, ConnectFailed, Disconnected, MessageTooLarge, NotMatched, Refused, SessionLost, TimeoutError } from "../src/errors.js";
import { Authenticate } from "../src/generated/tickwire/authenticate";
import { ClientBody } from "../src/generated/tickwire/client-body";
import { ClientMessage } from "../src/generated/tickwire/client-message";
import { Command } from "../src/generated/tickwire/command";
import { EndSession } from "../src/generated/tickwire/end-session";
import { Hello } from "../src/generated/tickwire/hello";
import { Input } from "../src/generated/tickwire/input";
import { Join } from "../src/generated/tickwire/join";
import { Leave } from "../src/generated/tickwire/leave";
import { ListRooms } from "../src/generated/tickwire/list-rooms";
import { MatchCancel } from "../src/generated/tickwire/match-cancel";
import { MatchRequest } from "../src/generated/tickwire/match-request";
import { Ping } from "../src/generated/tickwire/ping";
import { Resync } from "../src/generated/tickwire/resync";
import type { MachineCommand } from "../src/machine_commands.js";
import { SessionMachine } from "../src/session_machine.js";

const FOLDER = new URL("../../../schemas/scenarios/", import.meta.url);
const FILES = readdirSync(FOLDER).filter((name) => name.endsWith(".json"));

interface Scenario {
  about: string;
  options: { url: string; build: string; reconnect_ms?: number; has_storage?: boolean };
  random: number[];
  steps: { at_ms: number; event: Record<string, any>; commands: Record<string, any>[] }[];
}

describe("the session machine", () => {
  it("has scenarios", () => expect(FILES.length).toBeGreaterThan(50));

  it.each(FILES)("agrees with %s", (file) => {
    const scenario = JSON.parse(readFileSync(new URL(file, FOLDER), "utf8")) as Scenario;
    const { url, build, reconnect_ms: reconnectMs = 60_000, has_storage: hasStorage = false } = scenario.options;
    let drawn = 0;
    const machine = new SessionMachine({ url, build, reconnectMs, hasStorage }, () => scenario.random[drawn++ % scenario.random.length]!);
    scenario.steps.forEach(({ at_ms: atMs, event, commands }, index) => {
      pass(machine, event, atMs);
      const step = `step ${index} at ${atMs} ms: ${event.type}`;
      expect({ step, commands: machine.takeCommands().map(described) }).toEqual({ step, commands });
    });
  });
});

function pass(machine: SessionMachine, event: Record<string, any>, nowMs: number): void {
  const call = play(machine, event, nowMs);
  if (event.call && event.type !== "abandon") expect(call).toBe(event.call);
}

function play(machine: SessionMachine, event: Record<string, any>, nowMs: number): number | void {
  switch (event.type) {
    case "open":
      return machine.open(event.stored, nowMs);
    case "join": {
      const { room_id: roomId, is_private: isPrivate, ...others } = event.options;
      return machine.join(event.room_type, { ...others, roomId, isPrivate }, nowMs);
    }
    case "leave":
      return machine.leave(nowMs);
    case "match":
      return machine.match(event.mode, event.options, event.timeout_ms, nowMs);
    case "cancel_match":
      return machine.cancelMatch(nowMs);
    case "authenticate":
      return machine.authenticate(event.token, nowMs);
    case "list_rooms":
      return machine.listRooms(event.room_type, { ...(Object.keys(event.labels).length && { labels: event.labels }), limit: event.limit }, nowMs);
    case "command":
      return machine.command(event.name, event.payload, event.timeout_ms, nowMs);
    case "send_input":
      expect(machine.sendInput(event.values)).toBe(event.seq);
      return;
    case "abandon":
      return machine.abandon(event.call, nowMs);
    case "network_changed":
      return machine.networkChanged(nowMs);
    case "drop":
      return machine.drop(nowMs);
    case "close":
      return machine.close(nowMs);
    case "token_received":
      return machine.tokenReceived(event.token, nowMs);
    case "token_failed":
      return machine.tokenFailed("no token", nowMs);
    case "connected":
      return machine.connected(nowMs);
    case "connect_failed":
      return machine.connectFailed(new ConnectFailed("the server cannot be reached", event.retry_after_ms), nowMs);
    case "connection_lost":
      return machine.connectionLost(event.code ?? 0, "", nowMs);
    case "timer_fired":
      return machine.timerFired(nowMs);
    case "message_received":
      return machine.messageReceived(Uint8Array.from(Buffer.from(event.hex, "hex")), nowMs);
    default:
      throw new Error(`unknown event ${event.type}`);
  }
}

// -- commands in the form of the files ----------------------------------------------------------------------

function described(command: MachineCommand): object {
  const type = command.type[0]!.toUpperCase() + command.type.slice(1);
  switch (command.type) {
    case "send":
      return { type, message: messageOf(command.data) };
    case "close":
      return { type, code: command.code };
    case "setTimer":
      return { type, at_ms: command.atMs };
    case "resolve":
      return { type, call: command.call, value: valueOf(command.value) };
    case "reject":
      return { type, call: command.call, ...errorOf(command.error) };
    case "emit":
      return { type, event: command.event, value: emittedValueOf(command.event, command.value) };
    case "storeSession":
      return { type, session: JSON.parse(command.text) };
    case "connect":
      return { type, url: command.url };
    default:
      return { type };
  }
}

/** The messages of a client: their classes, and their fields in snake case. */
const MESSAGES: Record<string, [make: () => any, ...fields: string[]]> = {
  Hello: [() => new Hello(), "schema_version", "build", "token", "resume_token", "last_tick", "last_event", "room_id", "attempt"],
  Join: [() => new Join(), "room_type", "room_name", "ticket", "options", "room_id", "code", "is_private", "labels", "party", "party_size"],
  Leave: [() => new Leave()],
  Input: [() => new Input(), "seq", "tick", "payload"],
  Command: [() => new Command(), "id", "name", "payload"],
  Resync: [() => new Resync(), "channel", "tick"],
  Ping: [() => new Ping(), "client_time_us", "last_event", "generation"],
  MatchRequest: [() => new MatchRequest(), "mode", "options", "party", "party_size", "latencies", "labels"],
  MatchCancel: [() => new MatchCancel()],
  ListRooms: [() => new ListRooms(), "id", "room_type", "labels", "limit"],
  EndSession: [() => new EndSession()],
  Authenticate: [() => new Authenticate(), "token"],
};

function messageOf(data: Uint8Array): object {
  const root = ClientMessage.getRootAsClientMessage(new ByteBuffer(data));
  const type = ClientBody[root.bodyType()]!;
  const [make, ...names] = MESSAGES[type]!;
  const body = root.body(make());
  const fields: Record<string, unknown> = {};
  for (const name of names) {
    const method = name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
    const read = body[`${method}Array`] ? body[`${method}Array`]() : body[method]();
    const value = read instanceof Uint8Array ? Buffer.from(read).toString("hex") : typeof read === "bigint" ? Number(read) : read;
    if (value) fields[name] = value;
  }
  return { type, fields };
}

function errorOf(error: unknown): object {
  if (error instanceof Refused) return { error: "Refused", code: error.code };
  if (error instanceof CommandFailed) return { error: "CommandFailed", code: error.code };
  if (error instanceof NotMatched) return { error: "NotMatched", state: error.state.toUpperCase() };
  for (const [name, kind] of Object.entries({ Disconnected, SessionLost, MessageTooLarge, Timeout: TimeoutError, ClientError })) {
    if (error instanceof kind) return { error: name };
  }
  throw error;
}

function valueOf(value: any): unknown {
  switch (value?.type) {
    case "joined":
      return { room_id: value.roomId, room_type: value.roomType, entity: value.entity };
    case "authenticated":
      return { player_id: value.playerId };
    case "rooms":
      return { rooms: value.rooms.map((room: any) => room.roomId) };
    case "reply":
      return { id: Number(value.id), payload: Buffer.from(value.payload).toString("hex") };
    default:
      return value;
  }
}

function emittedValueOf(event: string, value: any): unknown {
  switch (event) {
    case "state":
      return { tick: value.tick };
    case "acknowledged":
      return { tick: value.tick, seq: value.seq };
    case "event":
      return { number: value.number, name: value.name, payload: Buffer.from(value.payload).toString("hex") };
    case "match":
      return { state: value.state.toUpperCase(), mode: value.mode };
    case "pong":
      return { rtt_ms: Math.floor(value.rttMs), clock_offset_ms: Math.floor(value.clockOffsetMs) };
    case "reconnected":
      return { has_resumed: value.isSameSession };
    case "refused":
    case "closed":
      return errorOf(value);
    case "error":
      return errorOf(value.error);
    case "joined":
      return valueOf(value);
    default:
      return null;
  }
}

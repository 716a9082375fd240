/** The golden vectors: a client that agrees with all of them can read every frame of a server. */

import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { ByteBuffer } from "flatbuffers";
import { describe, expect, it } from "vitest";

import { BitReader } from "../src/bits.js";
import { authenticate } from "../src/client_messages.js";
import { Authenticate } from "../src/generated/tickwire/authenticate";
import { ClientBody } from "../src/generated/tickwire/client-body";
import { ClientMessage } from "../src/generated/tickwire/client-message";
import { KINDS } from "../src/fields.js";
import { decodeServer } from "../src/messages.js";
import type { StateDescription } from "../src/types.js";
import { type Part, World } from "../src/world.js";

const FOLDER = fileURLToPath(new URL("../../../schemas/golden/", import.meta.url));
const ACKNOWLEDGEMENTS = "version_4/acknowledgements.json";
const AUTHENTICATION = "version_5/authentication.json";
const NAMES = readdirSync(FOLDER, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".json"));

const GROUP_KINDS = ["vector", "quaternion"];

interface Table {
  ids: number[];
  columns: number[][];
  texts: string[][];
}

interface Step {
  frame: string;
  tick: number;
  channels: Record<string, { tables: Record<string, Table>; checksum: string }>;
  values?: Record<string, Record<string, number[][]>>;
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (octet) => parseInt(octet, 16));
}

function describedBy(golden: any): StateDescription {
  const field = (one: any) => ({ ...one, kind: KINDS[one.kind], bytesMax: one.bytes_max });
  const groupOf = (one: any) => ({ ...one, kind: GROUP_KINDS[one.kind] });
  const tables = golden.tables.map(({ name, fields, groups }: any) => ({
    name,
    fields: fields.map(field),
    groups: groups?.map(groupOf),
  }));
  return { tables, inputs: golden.inputs.map(field) };
}

/** Applies a frame as the core does, without its error handling. */
function apply(world: World, hex: string): void {
  const frame = decodeServer(bytesOf(hex), world.tick);
  if (frame.type !== "state") throw new Error(`${frame.type} is no state`);
  const bits = new BitReader();
  const parts: Part[] = [];
  if (frame.flags & 2) {
    bits.open(frame.packed);
    while (!bits.isAtEnd) {
      const tag = bits.varint();
      const packed = bits.bytes(bits.varint());
      parts.push({ channel: tag >> 2, isKeyframe: !!(tag & 2), hasChecksum: !!(tag & 1), packed });
    }
  } else {
    const { channel, packed } = frame;
    parts.push({ channel, isKeyframe: !frame.age, hasChecksum: !!(frame.flags & 1), packed });
  }
  for (const part of parts) expect(world.apply(part, frame.tick, frame.age)).toBe(true);
  world.finish(frame.tick, frame.flags & 4 ? new Set(parts.map((part) => part.channel)) : null);
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (octet) => octet.toString(16).padStart(2, "0")).join("");
}

describe.each(NAMES.filter((name) => ![ACKNOWLEDGEMENTS, AUTHENTICATION].includes(name)))("%s", (name) => {
  const golden = JSON.parse(readFileSync(FOLDER + name, "utf8"));
  const world = new World(describedBy(golden.description));
  const steps: Step[] = golden.steps;
  it.each(steps.map((step) => [step.tick, step] as const))("tick %i", (_, step) => {
    apply(world, step.frame);
    expect(world.tick).toBe(step.tick);
    expect(world.channelNumbers.sort()).toEqual(Object.keys(step.channels).map(Number).sort());
    for (const [channel, wanted] of Object.entries(step.channels)) {
      const tables = world.channel(Number(channel))!;
      for (const table of tables) {
        const { ids, columns, texts } = wanted.tables[table.layout.name]!;
        expect(Array.from(table.ids.subarray(0, table.size))).toEqual(ids);
        table.layout.columns.forEach((_, place) => {
          expect(Array.from(table.column(place).subarray(0, table.size))).toEqual(columns[place]);
        });
        table.layout.texts.forEach((_, place) => {
          expect(ids.map((_, row) => hexOf(table.text(place, row)))).toEqual(texts[place]);
        });
      }
    }
    for (const [name, groups] of Object.entries(step.values ?? {})) {
      const table = world.table(name);
      for (const [group, wanted] of Object.entries(groups)) {
        const shown = table.ids.map((id) => table.vector(id, group)!);
        expect(shown.map((vector) => vector.length)).toEqual(wanted.map((vector) => vector.length));
        shown.flat().forEach((number, at) => expect(number).toBeCloseTo(wanted.flat()[at]!, 4));
      }
    }
  });
});

describe(ACKNOWLEDGEMENTS, () => {
  const { steps } = JSON.parse(readFileSync(FOLDER + ACKNOWLEDGEMENTS, "utf8"));
  it.each(steps as { frame: string; last_seq: number; tick: number; seq: number }[])("seq $seq", (step) => {
    expect(decodeServer(bytesOf(step.frame), 0, step.last_seq)).toEqual({ type: "ack", tick: step.tick, seq: step.seq });
  });
});

/** The fields of a message in the names of the schema. */
function inSchema({ type: _, ...fields }: any): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), value]));
}

describe(AUTHENTICATION, () => {
  interface Step {
    side: string;
    type: string;
    fields: Record<string, unknown>;
    message: string;
  }
  const steps: Step[] = JSON.parse(readFileSync(FOLDER + AUTHENTICATION, "utf8")).steps;
  it.each(steps.filter(({ side }) => side === "server"))("$type $fields", (step) => {
    const message = decodeServer(bytesOf(step.message));
    expect(message.type.toLowerCase()).toBe(step.type.toLowerCase());
    expect(inSchema(message)).toEqual(step.fields);
  });
  it.each(steps.filter(({ side }) => side === "client"))("$type $fields", (step) => {
    for (const data of [bytesOf(step.message), authenticate(String(step.fields.token))]) {
      const message = ClientMessage.getRootAsClientMessage(new ByteBuffer(data));
      expect(message.bodyType()).toBe(ClientBody.Authenticate);
      expect((message.body(new Authenticate()) as Authenticate).token() ?? "").toBe(step.fields.token);
    }
  });
});

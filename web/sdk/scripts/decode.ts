/** Decodes the same world, tick by tick, with this client and with @colyseus/schema. benchmarks/decode.py bundles it and runs it
 * in Node and in Chromium. */

import { Decoder, Encoder, MapSchema, Schema, defineTypes } from "@colyseus/schema";

import { ClientCore } from "../src/core.js";
import { KINDS } from "../src/fields.js";
import { World } from "../src/world.js";

interface Work {
  description: any;
  /** Whole ServerMessages, in hex: a keyframe, then deltas. */
  frames: string[];
  /** For each frame: x, y and heading of all entities. */
  ticks: [number[], number[], number[]][];
}

export interface Measured {
  /** Microseconds per frame: the mean of all frames, because a browser's clock is too coarse for one. */
  tickwire: number;
  colyseus: number;
  /** Bytes per frame. */
  tickwireBytes: number;
  colyseusBytes: number;
  checksum: number;
}

// The encoder of @colyseus/schema, which browsers normally do not use, requires Node's Buffer.
(globalThis as any).Buffer ??= { allocUnsafe: (size: number) => new Uint8Array(size) };

class Mover extends Schema {
  declare x: number;
  declare y: number;
  declare heading: number;
}
defineTypes(Mover, { x: "float32", y: "float32", heading: "float32" });

class State extends Schema {
  declare movers: MapSchema<Mover>;

  constructor() {
    super();
    this.movers = new MapSchema<Mover>();
  }
}
defineTypes(State, { movers: { map: Mover } });

function bytesOf(work: Work): Uint8Array[] {
  return work.frames.map((hex) => Uint8Array.from(hex.match(/../g)!, (octet) => parseInt(octet, 16)));
}

function decodeTickwire(work: Work, frames: readonly Uint8Array[]): { core: ClientCore; us: number } {
  const core = new ClientCore();
  const field = (one: any) => ({ ...one, kind: KINDS[one.kind], bytesMax: one.bytes_max });
  const tables = work.description.tables.map((table: any) => ({ name: table.name, fields: table.fields.map(field) }));
  core.world = new World({ tables, inputs: [] });
  core.receive(frames[0]!, 0);
  const began = performance.now();
  for (let tick = 1; tick < frames.length; tick++) core.receive(frames[tick]!, 0);
  const us = ((performance.now() - began) * 1000) / (frames.length - 1);
  if (core.resyncs || core.mismatches) throw new Error("a frame could not be applied");
  return { core, us };
}

function decodeColyseus(work: Work): { us: number; bytes: number } {
  const state = new State();
  const encoder = new Encoder(state);
  Encoder.BUFFER_SIZE = 1024 * 1024;
  encoder.sharedBuffer = new Uint8Array(Encoder.BUFFER_SIZE) as any;
  const mirror = new State();
  const decoder = new Decoder(mirror);
  const patches = work.ticks.map(([xs, ys, headings], tick) => {
    xs.forEach((x, row) => {
      const key = String(row);
      let mover = state.movers.get(key);
      if (!mover) state.movers.set(key, (mover = new Mover()));
      mover.x = x;
      mover.y = ys[row]!;
      mover.heading = headings[row]!;
    });
    const patch = Uint8Array.from(tick ? encoder.encode() : encoder.encodeAll());
    encoder.discardChanges();
    return patch;
  });
  decoder.decode(patches[0] as any);
  const began = performance.now();
  for (let tick = 1; tick < patches.length; tick++) decoder.decode(patches[tick] as any);
  const us = ((performance.now() - began) * 1000) / (patches.length - 1);
  if (mirror.movers.size !== work.ticks[0]![0].length) throw new Error("the mirrored state is incomplete");
  return { us, bytes: meanSize(patches) };
}

function meanSize(messages: readonly Uint8Array[]): number {
  return messages.slice(1).reduce((sum, message) => sum + message.length, 0) / (messages.length - 1);
}

export function measure(work: Work): Measured {
  const frames = bytesOf(work);
  decodeTickwire(work, frames); // warm up, so that compiled code is measured
  decodeColyseus(work);
  const ours = decodeTickwire(work, frames);
  const theirs = decodeColyseus(work);
  return {
    tickwire: ours.us,
    colyseus: theirs.us,
    tickwireBytes: meanSize(frames),
    colyseusBytes: theirs.bytes,
    checksum: ours.core.world!.checksum(),
  };
}

/** Node only: bytes allocated per frame, including collected ones, by V8's sampling profiler. */
async function allocated(work: Work): Promise<number> {
  const frames = bytesOf(work);
  for (let warm = 0; warm < 5; warm++) decodeTickwire(work, frames);
  const { Session } = await import("node:inspector/promises");
  const session = new Session();
  session.connect();
  const flags = { includeObjectsCollectedByMajorGC: true, includeObjectsCollectedByMinorGC: true };
  await session.post("HeapProfiler.startSampling", { samplingInterval: 256, ...flags });
  decodeTickwire(work, frames);
  const { profile } = await session.post("HeapProfiler.stopSampling");
  const sizeOf = (node: typeof profile.head): number =>
    node.selfSize + node.children.reduce((sum, child) => sum + sizeOf(child), 0);
  return sizeOf(profile.head) / frames.length;
}

(globalThis as any).measure = measure;
declare const process: any;
if (typeof process !== "undefined" && process.argv?.[2]) {
  const { readFileSync } = await import("node:fs");
  const work = JSON.parse(readFileSync(process.argv[2], "utf8")) as Work;
  const found = { ...measure(work), allocated: await allocated(work) };
  console.log(JSON.stringify(found));
}

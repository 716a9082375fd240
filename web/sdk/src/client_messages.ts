/** Encodes the messages of a client: schemas/client.fbs. */

import { MessageTooLarge } from "./errors.js";
import { ClientBody } from "./generated/tickwire/client-body";
import { encode as pack } from "./msgpack.js";
import { encodeClientMessage, type WireField } from "./table_writer.js";
import type { HelloFields, JoinOptions, MatchOptions } from "./types.js";

export const SCHEMA_VERSION = 5;
/** The longest text, as UTF-8, that the server accepts in a message. */
const TEXT_BYTES_MAX = 4096;
const encoder = new TextEncoder();

const u8 = (value: number): WireField => ({ size: 1, value });
const u16 = (value: number): WireField => ({ size: 2, value });
const u32 = (value: number): WireField => ({ size: 4, value });
const u64 = (value: bigint): WireField => ({ size: 8, value });
const blob = (value: Uint8Array): WireField => ({ size: 4, value });
const map = (value: object | undefined) => blob(value ? pack(value) : new Uint8Array());

/** @throws MessageTooLarge. */
function text(value = ""): WireField {
  const bytes = encoder.encode(value);
  if (bytes.length > TEXT_BYTES_MAX) {
    throw new MessageTooLarge(`a text of ${bytes.length} bytes ("${value.slice(0, 20)}…"); the server accepts ${TEXT_BYTES_MAX}`);
  }
  return { size: 4, value: bytes, isText: true };
}

export function hello({ build, token, resumeToken, lastTick, lastEvent, roomId, attempt }: HelloFields): Uint8Array {
  return encodeClientMessage(
    ClientBody.Hello,
    u16(SCHEMA_VERSION),
    text(build),
    text(token),
    text(resumeToken),
    u32(lastTick),
    u32(lastEvent),
    text(roomId),
    u32(attempt),
  );
}

export function join(roomType: string, options: JoinOptions): Uint8Array {
  return encodeClientMessage(
    ClientBody.Join,
    text(roomType),
    text(options.name),
    text(options.ticket),
    map(options.options),
    text(options.roomId),
    text(options.code),
    u8(options.isPrivate ? 1 : 0),
    map(options.labels),
    text(options.party?.[0]),
    u8(options.party?.[1] ?? 0),
  );
}

export function leave(): Uint8Array {
  return encodeClientMessage(ClientBody.Leave);
}

export function input(seq: number, tick: number, payload: Uint8Array): Uint8Array {
  return encodeClientMessage(ClientBody.Input, u32(seq), u32(tick), blob(payload));
}

export function command(id: bigint, name: string, payload: unknown): Uint8Array {
  return encodeClientMessage(ClientBody.Command, u64(id), text(name), blob(pack(payload)));
}

export function resync(channel: number, tick: number): Uint8Array {
  return encodeClientMessage(ClientBody.Resync, u16(channel), u32(tick));
}

export function ping(clientTimeUs: bigint, lastEvent: number, generation: number): Uint8Array {
  return encodeClientMessage(ClientBody.Ping, u64(clientTimeUs), u32(lastEvent), u32(generation));
}

export function matchRequest(mode: string, { options, party, latencies, labels }: MatchOptions): Uint8Array {
  return encodeClientMessage(ClientBody.MatchRequest, text(mode), map(options), text(party?.[0]), u8(party?.[1] ?? 0), map(latencies), map(labels));
}

export function matchCancel(): Uint8Array {
  return encodeClientMessage(ClientBody.MatchCancel);
}

/** Requests open rooms of a type; RoomList returns the id. */
export function listRooms(id: number, roomType: string, labels: Readonly<Record<string, string>> | undefined, limit: number): Uint8Array {
  return encodeClientMessage(ClientBody.ListRooms, u32(id), text(roomType), map(labels), u16(limit));
}

/** Authenticates the player of the running session; Authenticated is the answer. */
export function authenticate(token: string): Uint8Array {
  return encodeClientMessage(ClientBody.Authenticate, text(token));
}

/** Ends the session, its seat and its queue entry. The server closes the connection with 1000. */
export function endSession(): Uint8Array {
  return encodeClientMessage(ClientBody.EndSession);
}

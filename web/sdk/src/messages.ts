/** Decodes the messages of a server, FlatBuffers of schemas/server.fbs, to plain objects (types.ts). */

import { ByteBuffer } from "flatbuffers";

import { MalformedMessage } from "./errors.js";
import { KINDS } from "./fields.js";
import { Authenticated } from "./generated/tickwire/authenticated";
import { ClientBody } from "./generated/tickwire/client-body";
import { ErrorCode as WireErrorCode } from "./generated/tickwire/error-code";
import { Error as WireError } from "./generated/tickwire/error";
import { Event } from "./generated/tickwire/event";
import { DeltaFrameHead } from "./generated/tickwire/delta-frame-head";
import type { FieldDescription as WireField } from "./generated/tickwire/field-description";
import type { GroupDescription as WireGroup } from "./generated/tickwire/group-description";
import { Goodbye } from "./generated/tickwire/goodbye";
import { InputAckMessage } from "./generated/tickwire/input-ack-message";
import { InputAck } from "./generated/tickwire/input-ack";
import { Joined } from "./generated/tickwire/joined";
import { Left } from "./generated/tickwire/left";
import { MatchStatus } from "./generated/tickwire/match-status";
import { Pong } from "./generated/tickwire/pong";
import { QueueState } from "./generated/tickwire/queue-state";
import { Rate } from "./generated/tickwire/rate";
import { Redirect } from "./generated/tickwire/redirect";
import { Reply } from "./generated/tickwire/reply";
import { RoomList } from "./generated/tickwire/room-list";
import { ServerBody } from "./generated/tickwire/server-body";
import { ServerMessage as Wire } from "./generated/tickwire/server-message";
import { StateFrameHead } from "./generated/tickwire/state-frame-head";
import { StateHead } from "./generated/tickwire/state-head";
import { StructKind } from "./generated/tickwire/struct-kind";
import { TokenExpiring } from "./generated/tickwire/token-expiring";
import { Welcome } from "./generated/tickwire/welcome";
import { decode as unpack } from "./msgpack.js";
import type {
  AckMessage,
  ErrorCode,
  ErrorMessage,
  FieldDescription,
  GoodbyeMessage,
  GroupDescription,
  JoinedMessage,
  MatchStatusMessage,
  RedirectMessage,
  ReplyMessage,
  RoomListMessage,
  ServerMessage,
  StateMessage,
  WelcomeMessage,
} from "./types.js";

export const SUBPROTOCOL = "tickwire.1";

// -- reading ------------------------------------------------------------------------------------------------

/** The offset of the root table, and the offset of its vtable. */
const MESSAGE_BYTES_MIN = 8;
const GROUP_KINDS: readonly (GroupDescription["kind"] | undefined)[] = ["vector", "quaternion"];
const KIND_BITS = 3;
const KIND_MASK = (1 << KIND_BITS) - 1;
const wire = new Wire();
const tableHead = new StateHead();
const tableAck = new InputAck();
const stateHead = new StateFrameHead();
const deltaHead = new DeltaFrameHead();
const ack = new InputAckMessage();
const state: StateMessage = { type: "state", tick: 0, channel: 0, age: 0, flags: 0, packed: new Uint8Array(0) };
const acknowledged: AckMessage = { type: "ack", tick: 0, seq: 0 };

/** Decodes one message. A state or an acknowledgement is an object that the next call overwrites.
 *
 * @param lastTick: the tick of the client's last frame: a delta has the lowest 16 bits of its tick.
 * @param lastSeq: the number of the client's last input: an acknowledgement has the lowest 16 bits of its number.
 * @throws MalformedMessage: the bytes are not a message. */
export function decodeServer(data: Uint8Array, lastTick = 0, lastSeq = 0): ServerMessage {
  // A table begins with the offset of its root, a multiple of four; the kinds of structs are odd.
  if (data.length && data[0]! & 1) return readStruct(data, lastTick, lastSeq);
  if (data.length < MESSAGE_BYTES_MIN) throw new MalformedMessage(`not a message: ${data.length} bytes`);
  try {
    return read(new ByteBuffer(data));
  } catch (error) {
    throw error instanceof MalformedMessage ? error : new MalformedMessage(`not a message: ${String(error)}`);
  }
}

function readStruct(data: Uint8Array, lastTick: number, lastSeq: number): ServerMessage {
  const kind = data[0]! & KIND_MASK;
  const buffer = new ByteBuffer(data);
  if (kind === StructKind.DELTA_FRAME && data.length >= DeltaFrameHead.sizeOf()) {
    deltaHead.__init(0, buffer);
    state.tick = nearest(deltaHead.tickLow(), lastTick);
    state.channel = 0;
    state.age = deltaHead.age();
    state.flags = deltaHead.kind() >> KIND_BITS;
    state.packed = data.subarray(DeltaFrameHead.sizeOf());
    return state;
  }
  if (kind === StructKind.STATE_FRAME && data.length >= StateFrameHead.sizeOf()) {
    stateHead.__init(0, buffer);
    state.tick = stateHead.tick();
    state.channel = stateHead.channel();
    state.age = stateHead.age();
    state.flags = stateHead.kind() >> KIND_BITS;
    state.packed = data.subarray(StateFrameHead.sizeOf());
    return state;
  }
  if (kind === StructKind.INPUT_ACK && data.length === InputAckMessage.sizeOf()) {
    ack.__init(0, buffer);
    acknowledged.tick = ack.tick();
    acknowledged.seq = nearest(ack.seqLow(), lastSeq);
    return acknowledged;
  }
  if (kind > StructKind.INPUT_ACK) return { type: "unknown" };
  throw new MalformedMessage(`not a message: a struct of kind ${kind} and ${data.length} bytes`);
}

/** Returns the u32 with these lowest 16 bits that is nearest to a known one. */
function nearest(low: number, known: number): number {
  const number = known + ((low - known + 0x8000) & 0xffff) - 0x8000;
  if (number < 0) return number + 0x10000;
  return number <= 0xffffffff ? number : number - 0x10000;
}

function read(buffer: ByteBuffer): ServerMessage {
  Wire.getRootAsServerMessage(buffer, wire);
  // State and acknowledgements are tables if the server has schema version 3.
  if (wire.state(tableHead)) {
    state.tick = tableHead.tick();
    state.channel = tableHead.channel();
    state.age = tableHead.age();
    state.flags = tableHead.flags();
    state.packed = wire.packedArray() ?? new Uint8Array(0);
    return state;
  }
  if (wire.ack(tableAck)) {
    acknowledged.tick = tableAck.tick();
    acknowledged.seq = tableAck.seq();
    return acknowledged;
  }
  return readBody(wire);
}

function readBody(message: Wire): ServerMessage {
  switch (message.bodyType()) {
    case ServerBody.Welcome:
      return welcome(message.body(new Welcome()));
    case ServerBody.Joined:
      return joined(message.body(new Joined()));
    case ServerBody.Left:
      return { type: "left", reason: text((message.body(new Left()) as Left).reason()) };
    case ServerBody.Event: {
      const event: Event = message.body(new Event());
      return { type: "event", number: event.number(), name: text(event.name()), payload: bytes(event.payloadArray()) };
    }
    case ServerBody.Reply:
      return reply(message.body(new Reply()));
    case ServerBody.Pong: {
      const pong: Pong = message.body(new Pong());
      return { type: "pong", clientTimeUs: pong.clientTimeUs(), serverTimeUs: pong.serverTimeUs(), tick: pong.tick() };
    }
    case ServerBody.Redirect:
      return redirect(message.body(new Redirect()));
    case ServerBody.MatchStatus:
      return match(message.body(new MatchStatus()));
    case ServerBody.Error:
      return error(message.body(new WireError()));
    case ServerBody.Goodbye:
      return goodbye(message.body(new Goodbye()));
    case ServerBody.RoomList:
      return roomList(message.body(new RoomList()));
    case ServerBody.Rate: {
      const rate: Rate = message.body(new Rate());
      return { type: "rate", ticksPerUpdate: rate.ticksPerUpdate(), keyframesOnly: rate.keyframesOnly() };
    }
    case ServerBody.Authenticated: {
      const answer: Authenticated = message.body(new Authenticated());
      return { type: "authenticated", playerId: text(answer.playerId()), expiresInMs: answer.expiresInMs() };
    }
    case ServerBody.TokenExpiring:
      return { type: "tokenExpiring", expiresInMs: (message.body(new TokenExpiring()) as TokenExpiring).expiresInMs() };
    default:
      return { type: "unknown" };
  }
}

function roomList(from: RoomList): RoomListMessage {
  const rooms = Array.from({ length: from.roomsLength() }, (_, at) => {
    const room = from.rooms(at)!;
    const labels = room.labelsArray();
    return {
      roomId: text(room.roomId()),
      players: room.players(),
      maxPlayers: room.playersMax(),
      labels: labels?.length ? (unpack(labels) as Record<string, string>) : {},
    };
  });
  return { type: "rooms", id: from.id(), rooms };
}

function welcome(from: Welcome): WelcomeMessage {
  return {
    type: "welcome",
    sessionId: text(from.sessionId()),
    resumeToken: text(from.resumeToken()),
    serverTimeUs: from.serverTimeUs(),
    heartbeatIntervalMs: from.heartbeatIntervalMs(),
    inputsPerSecondMax: from.inputsPerSecondMax(),
    generation: from.generation(),
    resumeWindowMs: from.resumeWindowMs(),
    roomId: text(from.roomId()),
    isJoining: from.isJoining(),
    messageBytesMax: from.messageBytesMax(),
    messagesPerSecondMax: from.messagesPerSecondMax(),
    bytesPerSecondMax: from.bytesPerSecondMax(),
    leftReason: text(from.leftReason()),
  };
}

function joined(from: Joined): JoinedMessage {
  const description = from.description();
  const tables = range(description?.tablesLength() ?? 0, (at) => description!.tables(at)!);
  return {
    type: "joined",
    roomId: text(from.roomId()),
    roomType: text(from.roomType()),
    roomName: text(from.roomName()),
    tickRateHz: from.tickRateHz(),
    tick: from.tick(),
    entity: from.entity(),
    roomCode: text(from.roomCode()),
    team: from.team(),
    description: {
      tables: tables.map((table) => ({
        name: text(table.name()),
        fields: range(table.fieldsLength(), (at) => field(table.fields(at)!)),
        groups: range(table.groupsLength(), (at) => group(table.groups(at)!)).filter((one) => one !== null),
      })),
      inputs: range(description?.inputsLength() ?? 0, (at) => field(description!.inputs(at)!)),
    },
  };
}

function field(from: WireField): FieldDescription {
  return {
    name: text(from.name()),
    kind: KINDS[from.kind()] ?? "uint",
    bits: from.bits(),
    low: from.low(),
    high: from.high(),
    step: from.step(),
    labels: range(from.labelsLength(), (at) => from.labels(at)),
    bytesMax: from.bytesMax(),
  };
}

/** Returns a group; null for a kind of a newer server, whose fields are read one by one. */
function group(from: WireGroup): GroupDescription | null {
  const kind = GROUP_KINDS[from.kind()];
  return kind ? { name: text(from.name()), kind, first: from.first(), size: from.size() } : null;
}

function reply(from: Reply): ReplyMessage {
  return {
    type: "reply",
    id: from.id(),
    ok: from.ok(),
    error: errorCodeName(from.error()),
    message: text(from.message()),
    payload: bytes(from.payloadArray()),
    retryAfterMs: from.retryAfterMs(),
  };
}

function redirect(from: Redirect): RedirectMessage {
  return {
    type: "redirect",
    url: text(from.url()),
    ticket: text(from.ticket()),
    roomType: text(from.roomType()),
    roomName: text(from.roomName()),
    isResume: from.isResume(),
  };
}

function match(from: MatchStatus): MatchStatusMessage {
  return {
    type: "match",
    state: (QueueState[from.state()] ?? "WAITING").toLowerCase() as MatchStatusMessage["state"],
    position: from.position(),
    estimateMs: from.estimateMs(),
    mode: text(from.mode()),
    reason: text(from.reason()),
    waitingFor: from.waitingFor(),
  };
}

function error(from: WireError): ErrorMessage {
  return {
    type: "error",
    code: errorCodeName(from.code()),
    message: text(from.message()),
    retryAfterMs: from.retryAfterMs(),
    upgradeTo: from.upgradeTo(),
    retryable: from.retryable(),
    requestType: ClientBody[from.requestType()] ?? "NONE",
  };
}

function goodbye(from: Goodbye): GoodbyeMessage {
  return {
    type: "goodbye",
    code: errorCodeName(from.code()),
    message: text(from.message()),
    comeBack: from.comeBack(),
    retryAfterMs: from.retryAfterMs(),
  };
}

/** Returns an error code's name; INTERNAL for a code of a newer server that this build does not know. */
function errorCodeName(code: number): ErrorCode {
  return (WireErrorCode[code] as ErrorCode | undefined) ?? "INTERNAL";
}

function text(value: string | null): string {
  return value ?? "";
}

/** Returns a copy: the message's buffer is overwritten by the next message. */
function bytes(value: Uint8Array | null): Uint8Array {
  return value ? value.slice() : new Uint8Array(0);
}

function range<T>(count: number, make: (at: number) => T): T[] {
  return Array.from({ length: count }, (_, at) => make(at));
}

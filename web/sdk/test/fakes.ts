/** A fake WebSocket, and encoders for a server's messages. */

import { Builder, ByteBuffer } from "flatbuffers";
import { vi } from "vitest";

import { Client, type Options, type Socket } from "../src/client.js";
import { ClientBody } from "../src/generated/tickwire/client-body";
import { ClientMessage } from "../src/generated/tickwire/client-message";
import { Command } from "../src/generated/tickwire/command";
import { DeltaFrameHead } from "../src/generated/tickwire/delta-frame-head";
import { Error as WireError } from "../src/generated/tickwire/error";
import { ErrorCode } from "../src/generated/tickwire/error-code";
import { Event } from "../src/generated/tickwire/event";
import { Goodbye } from "../src/generated/tickwire/goodbye";
import { InputAck } from "../src/generated/tickwire/input-ack";
import { InputAckMessage } from "../src/generated/tickwire/input-ack-message";
import { Joined } from "../src/generated/tickwire/joined";
import { Left } from "../src/generated/tickwire/left";
import { ListedRoom } from "../src/generated/tickwire/listed-room";
import { MatchStatus } from "../src/generated/tickwire/match-status";
import { Pong } from "../src/generated/tickwire/pong";
import { QueueState } from "../src/generated/tickwire/queue-state";
import { Redirect } from "../src/generated/tickwire/redirect";
import { Reply } from "../src/generated/tickwire/reply";
import { RoomList } from "../src/generated/tickwire/room-list";
import { ServerBody } from "../src/generated/tickwire/server-body";
import { ServerMessage } from "../src/generated/tickwire/server-message";
import { StateDescription } from "../src/generated/tickwire/state-description";
import { StateFrameHead } from "../src/generated/tickwire/state-frame-head";
import { StateHead } from "../src/generated/tickwire/state-head";
import { StructKind } from "../src/generated/tickwire/struct-kind";
import { Welcome } from "../src/generated/tickwire/welcome";
import { encode } from "../src/msgpack.js";

/** A WebSocket whose server is the test. */
export class FakeSocket implements Socket {
  static all: FakeSocket[] = [];
  binaryType = "arraybuffer";
  readyState = 0;
  onopen: any = null;
  onmessage: any = null;
  onclose: any = null;
  onerror: any = null;
  sent: Uint8Array[] = [];
  /** The close code that the client sent. */
  closedWith: number | undefined;
  /** Whether pings are answered. */
  isAlive = true;

  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }
  send(data: Uint8Array): void {
    this.sent.push(data.slice());
    if (this.isAlive && typeOf(data) === ClientBody.Ping) queueMicrotask(() => this.says(pong));
  }
  close(code?: number): void {
    this.readyState = 3;
    this.closedWith = code;
  }
  opens(): void {
    this.readyState = 1;
    this.onopen?.({});
  }
  says(data: Uint8Array): void {
    this.onmessage?.({ data: data.slice().buffer });
  }
  ends(code: number, reason = ""): void {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
  /** The types of the messages that were sent. */
  kinds(): string[] {
    return this.sent.map((data) => ClientBody[typeOf(data)]!);
  }
  count(kind: string): number {
    return this.kinds().filter((one) => one === kind).length;
  }
  all<T>(kind: ClientBody, make: () => T): T[] {
    return this.sent
      .filter((data) => typeOf(data) === kind)
      .map((data) => ClientMessage.getRootAsClientMessage(new ByteBuffer(data)).body(make() as any));
  }
  last<T>(kind: ClientBody, body: T): T {
    return this.all(kind, () => body).at(-1)!;
  }
  /** The ids of the commands that were sent. */
  commands(): number[] {
    return this.all(ClientBody.Command, () => new Command()).map((command) => Number(command.id()));
  }
}

function typeOf(data: Uint8Array): ClientBody {
  return ClientMessage.getRootAsClientMessage(new ByteBuffer(data)).bodyType();
}

export function message(type: ServerBody, write: (builder: Builder) => number): Uint8Array {
  const builder = new Builder(64);
  const body = write(builder);
  ServerMessage.startServerMessage(builder);
  ServerMessage.addBodyType(builder, type);
  ServerMessage.addBody(builder, body);
  builder.finish(ServerMessage.endServerMessage(builder));
  return builder.asUint8Array();
}

const pong = message(ServerBody.Pong, (builder) => {
  Pong.startPong(builder);
  return Pong.endPong(builder);
});

export interface WelcomeFields {
  roomId?: string;
  isJoining?: boolean;
  leftReason?: string;
  messageBytesMax?: number;
  messagesPerSecondMax?: number;
  bytesPerSecondMax?: number;
}

export function welcome(generation: number, token: string, fields: WelcomeFields = {}): Uint8Array {
  return message(ServerBody.Welcome, (builder) => {
    const [resumeToken, room] = [builder.createString(token), builder.createString(fields.roomId ?? "")];
    const leftReason = builder.createString(fields.leftReason ?? "");
    Welcome.startWelcome(builder);
    Welcome.addResumeToken(builder, resumeToken);
    Welcome.addHeartbeatIntervalMs(builder, 3000);
    Welcome.addGeneration(builder, generation);
    Welcome.addRoomId(builder, room);
    Welcome.addIsJoining(builder, fields.isJoining ?? false);
    Welcome.addMessageBytesMax(builder, fields.messageBytesMax ?? 16_384);
    Welcome.addMessagesPerSecondMax(builder, fields.messagesPerSecondMax ?? 120);
    Welcome.addBytesPerSecondMax(builder, fields.bytesPerSecondMax ?? 65_536);
    Welcome.addLeftReason(builder, leftReason);
    return Welcome.endWelcome(builder);
  });
}

/** A room without tables and without inputs. */
export function joinedIn(roomId: string): Uint8Array {
  return message(ServerBody.Joined, (builder) => {
    const [id, type] = [builder.createString(roomId), builder.createString("garden")];
    StateDescription.startStateDescription(builder);
    const description = StateDescription.endStateDescription(builder);
    Joined.startJoined(builder);
    Joined.addRoomId(builder, id);
    Joined.addRoomType(builder, type);
    Joined.addTickRateHz(builder, 20);
    Joined.addDescription(builder, description);
    return Joined.endJoined(builder);
  });
}

export const joined = joinedIn("room-1");

export const left = message(ServerBody.Left, (builder) => Left.createLeft(builder, builder.createString("closed")));

export function reply(id: bigint | number, payload: unknown): Uint8Array {
  return message(ServerBody.Reply, (builder) => {
    const bytes = Reply.createPayloadVector(builder, encode(payload));
    Reply.startReply(builder);
    Reply.addId(builder, BigInt(id));
    Reply.addOk(builder, true);
    Reply.addPayload(builder, bytes);
    return Reply.endReply(builder);
  });
}

export function noReply(id: bigint | number, error: ErrorCode, retryAfterMs: number): Uint8Array {
  return message(ServerBody.Reply, (builder) => {
    Reply.startReply(builder);
    Reply.addId(builder, BigInt(id));
    Reply.addError(builder, error);
    Reply.addRetryAfterMs(builder, retryAfterMs);
    return Reply.endReply(builder);
  });
}

export function refusal(code: ErrorCode, requestType: ClientBody, retryAfterMs = 0): Uint8Array {
  return message(ServerBody.Error, (builder) => {
    WireError.startError(builder);
    WireError.addCode(builder, code);
    WireError.addRequestType(builder, requestType);
    WireError.addRetryAfterMs(builder, retryAfterMs);
    WireError.addRetryable(builder, retryAfterMs > 0);
    return WireError.endError(builder);
  });
}

export function roomList(id: number, roomIds: readonly string[], labels: Record<string, string>): Uint8Array {
  return message(ServerBody.RoomList, (builder) => {
    const rooms = roomIds.map((roomId) => {
      const [name, map] = [builder.createString(roomId), ListedRoom.createLabelsVector(builder, encode(labels))];
      return ListedRoom.createListedRoom(builder, name, 3, 8, map);
    });
    return RoomList.createRoomList(builder, id, RoomList.createRoomsVector(builder, rooms));
  });
}

export function goodbye(code: ErrorCode, comeBack: boolean): Uint8Array {
  return message(ServerBody.Goodbye, (builder) => {
    Goodbye.startGoodbye(builder);
    Goodbye.addCode(builder, code);
    Goodbye.addComeBack(builder, comeBack);
    return Goodbye.endGoodbye(builder);
  });
}

export function match(state: QueueState, mode = "duel", reason = ""): Uint8Array {
  return message(ServerBody.MatchStatus, (builder) => {
    const [name, why] = [builder.createString(mode), builder.createString(reason)];
    MatchStatus.startMatchStatus(builder);
    MatchStatus.addState(builder, state);
    MatchStatus.addMode(builder, name);
    MatchStatus.addReason(builder, why);
    return MatchStatus.endMatchStatus(builder);
  });
}

/** A complete keyframe of an empty world. */
export function state(tick: number): Uint8Array {
  return struct(StateFrameHead.sizeOf(), (builder) => StateFrameHead.createStateFrameHead(builder, StructKind.STATE_FRAME, 0, 0, tick), [0]);
}

/** A delta of an empty world in which nothing changes. */
export function delta(tick: number, age: number): Uint8Array {
  const write = (builder: Builder) => DeltaFrameHead.createDeltaFrameHead(builder, StructKind.DELTA_FRAME, age, tick & 0xffff);
  return struct(DeltaFrameHead.sizeOf(), write, [0]);
}

export function ack(tick: number, seq: number): Uint8Array {
  const write = (builder: Builder) => InputAckMessage.createInputAckMessage(builder, StructKind.INPUT_ACK, 0, seq & 0xffff, tick);
  return struct(InputAckMessage.sizeOf(), write);
}

function struct(size: number, write: (builder: Builder) => number, packed: number[] = []): Uint8Array {
  const builder = new Builder(64);
  write(builder);
  const buffer = builder.dataBuffer();
  const start = buffer.capacity() - builder.offset();
  return Uint8Array.from([...buffer.bytes().subarray(start, start + size), ...packed]);
}

/** The same keyframe from a server of schema version 3. */
export function tableState(tick: number): Uint8Array {
  const builder = new Builder(64);
  const packed = ServerMessage.createPackedVector(builder, [0]);
  ServerMessage.startServerMessage(builder);
  ServerMessage.addState(builder, StateHead.createStateHead(builder, tick, 0, 0, 0));
  ServerMessage.addPacked(builder, packed);
  builder.finish(ServerMessage.endServerMessage(builder));
  return builder.asUint8Array();
}

/** An acknowledgement from a server of schema version 3. */
export function tableAck(tick: number, seq: number): Uint8Array {
  const builder = new Builder(64);
  ServerMessage.startServerMessage(builder);
  ServerMessage.addAck(builder, InputAck.createInputAck(builder, tick, seq));
  builder.finish(ServerMessage.endServerMessage(builder));
  return builder.asUint8Array();
}

export function redirect(url: string, isResume: boolean, ticket = ""): Uint8Array {
  return message(ServerBody.Redirect, (builder) => {
    const [to, ticketOffset, type] = [url, ticket, "garden"].map((text) => builder.createString(text)) as [number, number, number];
    return Redirect.createRedirect(builder, to, ticketOffset, type, 0, isResume);
  });
}

export function event(number: number, payload: Uint8Array = encode(number)): Uint8Array {
  return message(ServerBody.Event, (builder) => {
    const name = builder.createString("said");
    return Event.createEvent(builder, number, name, Event.createPayloadVector(builder, payload));
  });
}

export const newest = () => FakeSocket.all.at(-1)!;

/** Lets promises and immediate callbacks run; needs fake timers. */
export async function settle(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0);
}

export async function open(options: Options = {}, fields: WelcomeFields = {}): Promise<Client> {
  const client = new Client("ws://initial/", { socket: (url) => new FakeSocket(url), token: () => "jwt", ...options });
  const opened = client.open();
  await settle();
  newest().opens();
  newest().says(welcome(1, "token-1", fields));
  await opened;
  return client;
}

export async function seated(options: Options = {}, fields: WelcomeFields = {}): Promise<Client> {
  const client = await open(options, fields);
  const joining = client.join("garden");
  newest().says(joined);
  await joining;
  await settle();
  return client;
}

/** Breaks the connection, and opens the next one after the shortest pause. */
export async function resumes(generation = 2, fields: WelcomeFields = { roomId: "room-1" }): Promise<void> {
  newest().ends(1006);
  await vi.advanceTimersByTimeAsync(300);
  newest().opens();
  newest().says(welcome(generation, `token-${generation}`, fields));
  await settle();
}

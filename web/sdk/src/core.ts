/** The protocol of a client without I/O. Turns received bytes into typed updates and a mirrored world, and requests into bytes.
 *
 * The caller passes each WebSocket message to `receive`, and sends the bytes that the other methods return and those in
 * `outgoing`. After a frame that does not fit or a wrong checksum the core requests a keyframe, and repeats the request if none
 * arrives. The core outlives connections: the next `hello` asks for the same session; after a resume, commands without a reply
 * are sent again. */

import { BitReader } from "./bits.js";
import { CommandQueue } from "./commands.js";
import { MalformedMessage, MessageTooLarge } from "./errors.js";
import { Field, packInput } from "./fields.js";
import {
  command,
  decodeServer,
  endSession,
  hello,
  input,
  join,
  leave,
  listRooms,
  matchCancel,
  matchRequest,
  ping,
  resync,
} from "./messages.js";
import type {
  ErrorMessage,
  EventMessage,
  GoodbyeMessage,
  JoinedMessage,
  JoinOptions,
  MatchOptions,
  MatchStatusMessage,
  RedirectMessage,
  ReplyMessage,
  RoomListMessage,
  StateMessage,
  WelcomeMessage,
} from "./types.js";
import { type Part, World, WrongBaseline } from "./world.js";

const HAS_CHECKSUM = 1;
const HAS_PARTS = 2;
const IS_COMPLETE = 4;
/** The number of ticks after which a keyframe that did not arrive is requested again. */
const RESYNC_AGAIN_TICKS = 64;

export type Update =
  /** `isJoinInFlight`: the answer to an earlier Join follows. */
  | {
      readonly type: "welcomed";
      readonly welcome: WelcomeMessage;
      readonly hasResumed: boolean;
      readonly lostRoom: string;
      readonly isJoinInFlight: boolean;
    }
  /** `isSameRoom`: the client was in this room before. The room moved, and the message does not answer a Join. */
  | { readonly type: "joined"; readonly joined: JoinedMessage; readonly isSameRoom: boolean }
  | { readonly type: "left"; readonly reason: string }
  | { readonly type: "state"; readonly tick: number; readonly isKeyframe: boolean; readonly hasAgreed: boolean }
  | { readonly type: "acknowledged"; readonly tick: number; readonly seq: number }
  | { readonly type: "event"; readonly event: EventMessage; readonly missed: number }
  | { readonly type: "reply"; readonly reply: ReplyMessage }
  | { readonly type: "pong"; readonly rttMs: number; readonly clockOffsetMs: number }
  | { readonly type: "match"; readonly status: MatchStatusMessage }
  | { readonly type: "redirected"; readonly redirect: RedirectMessage }
  | { readonly type: "eventsLost"; readonly error: ErrorMessage }
  | { readonly type: "refused"; readonly error: ErrorMessage }
  | RoomListMessage
  | { readonly type: "ended"; readonly goodbye: GoodbyeMessage };

export class ClientCore {
  /** The mirrored state of the room; null outside of a room. */
  world: World | null = null;
  joined: JoinedMessage | null = null;
  /** The sequence number of the newest input that is part of the world. */
  acknowledgedSeq = 0;
  /** Resumes this session; empty without a session. */
  resumeToken = "";
  sessionId = "";
  /** Messages of the protocol itself that the caller must send after `receive`. */
  outgoing: Uint8Array[] = [];
  /** Counted over all sessions; expected to stay 0. */
  resyncs = 0;
  mismatches = 0;
  eventsMissed = 0;
  eventsRepeated = 0;

  private inputFields: Field[] = [];
  private inputSeq = 0;
  /** The largest message that the server accepts; 0 before Welcome. */
  private messageBytesMax = 0;
  private eventNumber = 0;
  private generation = 0;
  private attempt = 0;
  private readonly commands = new CommandQueue();
  private readonly awaitingKeyframe = new Map<number, number>(); // by channel: the tick of the request
  private readonly bits = new BitReader();
  private readonly only: Part = { channel: 0, isKeyframe: false, hasChecksum: false, packed: new Uint8Array(0) };

  // -- to the server --------------------------------------------------------------------------------------

  /** Encodes the first message on a connection. It asks to resume the previous session, if there was one. */
  hello(build: string, token: string): Uint8Array {
    this.outgoing.length = 0;
    this.attempt += 1;
    const isResume = this.resumeToken !== "";
    const isBaseline = isResume && this.world !== null && !this.awaitingKeyframe.size;
    return hello({
      build,
      token,
      resumeToken: this.resumeToken,
      lastTick: isBaseline ? this.world!.tick : 0,
      lastEvent: isResume ? this.eventNumber : 0,
      roomId: isResume && this.joined ? this.joined.roomId : "",
      attempt: this.attempt,
    });
  }

  /** Discards the session: the next `hello` asks for a new one. */
  discardSession(): void {
    this.resumeToken = "";
    this.commands.clear();
    this.world = this.joined = null;
    this.acknowledgedSeq = this.inputSeq = this.eventNumber = 0;
    this.awaitingKeyframe.clear();
  }

  join(roomType: string, options: JoinOptions = {}): Uint8Array {
    return this.checkSize(join(roomType, options));
  }

  leave(): Uint8Array {
    return leave();
  }

  /** Encodes the request to end the session, its seat and its queue entry. */
  endSession(): Uint8Array {
    return endSession();
  }

  matchRequest(mode: string, options: MatchOptions = {}): Uint8Array {
    return this.checkSize(matchRequest(mode, options));
  }

  listRooms(id: number, roomType: string, labels: Readonly<Record<string, string>> | undefined, limit: number): Uint8Array {
    return this.checkSize(listRooms(id, roomType, labels, limit));
  }

  matchCancel(): Uint8Array {
    return matchCancel();
  }

  /** Encodes an input, in the game's units. Missing fields are zero.
   *
   * @throws RangeError: the client is in no room, or the room declares no such input. */
  input(values: Readonly<Record<string, number>>): { seq: number; data: Uint8Array } {
    if (!this.world) throw new RangeError("an input needs a room: join first");
    this.inputSeq += 1;
    return { seq: this.inputSeq, data: this.checkSize(input(this.inputSeq, this.world.tick, packInput(this.inputFields, values))) };
  }

  /** Adds a command; `commandsToSend` returns it, and again after each resume until it is answered. Returns its id.
   *
   * @throws RangeError: the client is in no room. MessageTooLarge. ClientError: too many commands have no reply. */
  command(name: string, payload: unknown): bigint {
    if (!this.world) throw new RangeError("a command needs a room: join first");
    return this.commands.add((id) => this.checkSize(command(id, name, payload)));
  }

  /** Returns the commands to send now. Call it again after `commandWaitMs`. */
  commandsToSend(nowMs: number): Uint8Array[] {
    return this.commands.due(nowMs);
  }

  /** Returns the time until the server's rates allow the next command; 0 if they hold none back. */
  commandWaitMs(nowMs: number): number {
    return this.commands.waitMs(nowMs);
  }

  /** Stops sending a command. */
  abandonCommand(id: bigint): void {
    this.commands.remove(id);
  }

  /** Returns a command that was sent and has no reply. */
  unansweredCommand(id: bigint): Uint8Array | undefined {
    return this.commands.get(id);
  }

  /** @throws MessageTooLarge: the server would not accept the message. */
  private checkSize(data: Uint8Array): Uint8Array {
    if (this.messageBytesMax && data.length > this.messageBytesMax) {
      throw new MessageTooLarge(`the message has ${data.length} bytes; the server accepts at most ${this.messageBytesMax}`);
    }
    return data;
  }

  /** Encodes a Ping: the heartbeat, a clock reading that the server returns, and the number of the last event. */
  ping(nowMs: number): Uint8Array {
    return ping(BigInt(Math.round(nowMs * 1000)), this.eventNumber, this.generation);
  }

  // -- from the server ------------------------------------------------------------------------------------

  /** Applies one message. Returns null if it contains nothing new.
   *
   * @param nowMs: the clock that `ping` uses.
   * @throws MalformedMessage: the bytes are not a message; close the connection. */
  receive(data: Uint8Array, nowMs: number): Update | null {
    const message = decodeServer(data, this.world?.tick, this.inputSeq);
    switch (message.type) {
      case "state":
        return this.state(message);
      case "ack":
        this.acknowledgedSeq = message.seq;
        return { type: "acknowledged", tick: message.tick, seq: message.seq };
      case "event":
        return this.event(message);
      case "welcome":
        return this.welcomed(message);
      case "joined":
        return this.seatTaken(message);
      case "left":
        this.world = this.joined = null;
        return { type: "left", reason: message.reason };
      case "reply":
        if (!message.retryAfterMs) this.commands.remove(message.id);
        else if (message.error === "RATE_LIMITED") this.commands.pause(nowMs + message.retryAfterMs);
        return { type: "reply", reply: message };
      case "pong": {
        // The server read its clock half a round trip ago, if both directions take equally long: RFC 5905, section 8.
        const rttMs = Math.max(0, nowMs - Number(message.clientTimeUs) / 1000);
        return { type: "pong", rttMs, clockOffsetMs: Number(message.serverTimeUs) / 1000 + rttMs / 2 - nowMs };
      }
      case "redirect":
        return { type: "redirected", redirect: message };
      case "match":
        return { type: "match", status: message };
      case "error":
        return { type: message.code === "RESYNC" ? "eventsLost" : "refused", error: message };
      case "rooms":
        return message;
      case "goodbye":
        return { type: "ended", goodbye: message };
      default:
        return null;
    }
  }

  private welcomed(welcome: WelcomeMessage): Update {
    const hasResumed = welcome.generation > 1;
    const wasIn = this.joined?.roomId ?? "";
    if (!hasResumed) this.discardSession();
    this.resumeToken = welcome.resumeToken;
    this.sessionId = welcome.sessionId;
    this.generation = welcome.generation;
    this.messageBytesMax = welcome.messageBytesMax;
    this.commands.limit(welcome.messagesPerSecondMax, welcome.bytesPerSecondMax);
    if (hasResumed) {
      this.awaitingKeyframe.clear();
      if (wasIn && welcome.roomId === wasIn) this.world?.clearHistory();
      else if (wasIn && !welcome.roomId) this.world = this.joined = null;
      this.commands.rewind();
    }
    // A client that joins from a seat is refused, so that a seat in the same room does not come from its Join.
    const isJoinInFlight = welcome.isJoining || (welcome.roomId !== "" && welcome.roomId !== wasIn);
    return { type: "welcomed", welcome, hasResumed, lostRoom: wasIn && !this.joined ? wasIn : "", isJoinInFlight };
  }

  private seatTaken(joined: JoinedMessage): Update {
    const isSameRoom = this.joined?.roomId === joined.roomId;
    // The same room at another shard: views of its world stay valid.
    if (this.world && isSameRoom && this.world.fits(joined.description)) this.world.clear();
    else this.world = new World(joined.description);
    this.inputFields = joined.description.inputs.map((field) => new Field(field));
    this.joined = joined;
    this.awaitingKeyframe.clear();
    return { type: "joined", joined, isSameRoom };
  }

  private state(frame: StateMessage): Update | null {
    const { world } = this;
    if (!world) return null;
    const parts = this.partsOf(frame);
    let applied = 0;
    let hasAgreed = true;
    let isKeyframe = true;
    for (const part of parts) {
      isKeyframe &&= part.isKeyframe;
      const agrees = this.applyPart(world, part, frame);
      applied += agrees === null ? 0 : 1;
      hasAgreed &&= agrees !== false;
    }
    const isComplete = (frame.flags & IS_COMPLETE) !== 0;
    const named = isComplete ? new Set(parts.map((part) => part.channel)) : null;
    world.finish(frame.tick, named);
    if (named) {
      for (const channel of [...this.awaitingKeyframe.keys()]) {
        if (!named.has(channel)) this.awaitingKeyframe.delete(channel);
      }
    }
    return parts.length && !applied ? null : { type: "state", tick: frame.tick, isKeyframe, hasAgreed };
  }

  private partsOf(frame: StateMessage): Part[] {
    if (!(frame.flags & HAS_PARTS)) {
      const { only } = this;
      only.channel = frame.channel;
      only.isKeyframe = frame.age === 0;
      only.hasChecksum = (frame.flags & HAS_CHECKSUM) !== 0;
      only.packed = frame.packed;
      return [only];
    }
    const { bits } = this;
    bits.open(frame.packed);
    const parts: Part[] = [];
    const seen = new Set<number>();
    while (!bits.isAtEnd) {
      const tag = bits.varint();
      const channel = Math.floor(tag / 4);
      const isKeyframe = (tag & 2) !== 0;
      if (channel > 0xffff || seen.has(channel) || !(isKeyframe || frame.age)) {
        throw new MalformedMessage(`channel ${channel} is invalid or appears twice`);
      }
      seen.add(channel);
      parts.push({ channel, isKeyframe, hasChecksum: (tag & 1) !== 0, packed: bits.bytes(bits.varint()) });
    }
    return parts;
  }

  /** Applies one part. Returns whether its checksum agrees; null if it could not be applied. */
  private applyPart(world: World, part: Part, frame: StateMessage): boolean | null {
    const requestedTick = this.awaitingKeyframe.get(part.channel);
    if (!part.isKeyframe && requestedTick !== undefined) {
      if (frame.tick - requestedTick >= RESYNC_AGAIN_TICKS) this.requestKeyframe(part.channel, frame.tick);
      return null;
    }
    let agrees: boolean;
    try {
      agrees = world.apply(part, frame.tick, frame.age);
    } catch (error) {
      if (error instanceof WrongBaseline) {
        // A frame is missing, and it may have changed other channels.
        for (const channel of new Set([...world.channelNumbers, part.channel])) this.requestKeyframe(channel, frame.tick);
      } else if (error instanceof MalformedMessage) this.requestKeyframe(part.channel, frame.tick);
      else throw error;
      return null;
    }
    this.awaitingKeyframe.delete(part.channel);
    if (!agrees) {
      this.mismatches += 1;
      this.requestKeyframe(part.channel, frame.tick);
    }
    return agrees;
  }

  private requestKeyframe(channel: number, tick: number): void {
    this.resyncs += 1;
    this.awaitingKeyframe.set(channel, tick);
    this.outgoing.push(resync(channel, tick));
  }

  private event(event: EventMessage): Update | null {
    if (event.number <= this.eventNumber) {
      this.eventsRepeated += 1;
      return null;
    }
    const missed = event.number - this.eventNumber - 1;
    this.eventsMissed += missed;
    this.eventNumber = event.number;
    return { type: "event", event, missed };
  }
}

/** The protocol of a client without I/O. Turns received bytes into typed updates and a mirrored world, and requests into bytes.
 *
 * The caller passes each WebSocket message to `receive`, and sends the bytes that the other methods return and those in
 * `outgoing`. After a frame that does not fit or a wrong checksum the core requests a keyframe, and repeats the request if none
 * arrives. The core outlives connections: the next `hello` asks for the same session; after a resume, commands without a reply
 * are sent again. */

import { BitReader } from "./bits.js";
import {
  authenticate,
  command,
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
} from "./client_messages.js";
import { CommandWindow, isDecided } from "./command_window.js";
import { MalformedMessage, MessageTooLarge } from "./errors.js";
import { Field, packInput } from "./fields.js";
import { MatchQueue } from "./match_queue.js";
import { decodeServer } from "./messages.js";
import type {
  AuthenticatedMessage,
  ErrorCode,
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
  /** `lostRoom`: the room that the client was in before and is not in now. `hasLostSession`: the server did not keep the previous
   * session. `isJoinInFlight`: the answer to an earlier Join follows. */
  | {
      readonly type: "welcomed";
      readonly welcome: WelcomeMessage;
      readonly hasResumed: boolean;
      readonly lostRoom: string;
      readonly hasLostSession: boolean;
      readonly isJoinInFlight: boolean;
    }
  /** `isSameRoom`: the client was in this room before. The room moved, and the message does not answer a Join. */
  | { readonly type: "joined"; readonly joined: JoinedMessage; readonly isSameRoom: boolean }
  | { readonly type: "left"; readonly reason: string }
  | { readonly type: "state"; readonly tick: number; readonly isKeyframe: boolean; readonly hasAgreed: boolean }
  | { readonly type: "acknowledged"; readonly tick: number; readonly seq: number }
  | { readonly type: "event"; readonly event: EventMessage; readonly missed: number }
  /** `isDecided`: the reply is final; otherwise the command is sent again. */
  | { readonly type: "reply"; readonly reply: ReplyMessage; readonly isDecided: boolean }
  | { readonly type: "pong"; readonly rttMs: number; readonly clockOffsetMs: number }
  /** `isCurrent`: it is about the current queue entry, and not an abandoned one. `isEnd`: the wait ended without a match. */
  | { readonly type: "match"; readonly status: MatchStatusMessage; readonly isCurrent: boolean; readonly isEnd: boolean }
  /** `isMatch`: it leads to a found match. `isMove`: the room moves the player to another room; `left` follows. */
  | { readonly type: "redirected"; readonly redirect: RedirectMessage; readonly isMatch: boolean; readonly isMove: boolean }
  | { readonly type: "eventsLost"; readonly error: ErrorMessage }
  | { readonly type: "refused"; readonly error: ErrorMessage }
  | RoomListMessage
  | AuthenticatedMessage
  | { readonly type: "tokenExpiring"; readonly expiresInMs: number }
  | { readonly type: "ended"; readonly goodbye: GoodbyeMessage };

/** Errors that answer no request, for servers that do not set `requestType`. */
const NO_ANSWER: readonly ErrorCode[] = ["RATE_LIMITED", "UNSUPPORTED", "RESYNC"];

/** Returns whether an Error answers a request of this type, by its name in the schema. */
export function isAnswer(error: ErrorMessage, requestType: string): boolean {
  return error.requestType === "NONE" ? !NO_ANSWER.includes(error.code) : error.requestType === requestType;
}

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
  /** The number of the newest event. */
  eventNumber = 0;
  /** The number of the last Hello. */
  attempt = 0;
  /** The id of the last command. */
  commandId = 0;
  /** Whether an abandoned Join has no answer yet. The next Join must wait for it. */
  isAbandoningJoin = false;

  private generation = 0;
  private listId = 0;
  private hasSession = false;
  private readonly commands: CommandWindow;
  private readonly matchQueue = new MatchQueue();
  private readonly awaitingKeyframe = new Map<number, number>(); // by channel: the tick of the request
  private readonly bits = new BitReader();
  private readonly only: Part = { channel: 0, isKeyframe: false, hasChecksum: false, packed: new Uint8Array(0) };

  /** @param random: returns random numbers from 0 to 1; spreads the pauses before a command is sent again. */
  constructor(random: () => number = Math.random) {
    this.commands = new CommandWindow(random);
  }

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

  /** Continues a session of an earlier run of the program. The next `hello` asks for it and a keyframe.
   *
   * @param attempt: at least the number of the last Hello.
   * @param commandId: at least the id of the last command. */
  restore(session: { readonly resumeToken: string; readonly lastEvent: number; readonly attempt: number; readonly commandId: number }): void {
    this.resumeToken = session.resumeToken;
    this.hasSession = true;
    this.eventNumber = session.lastEvent;
    this.attempt = session.attempt;
    this.commandId = session.commandId;
  }

  /** Discards the session: the next `hello` asks for a new one. */
  discardSession(): void {
    this.resumeToken = "";
    this.hasSession = this.isAbandoningJoin = false;
    this.commands.clear();
    this.matchQueue.reset();
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
    const data = this.checkSize(matchRequest(mode, options));
    this.matchQueue.request(mode);
    return data;
  }

  /** Encodes a request for open rooms. RoomList returns the id. */
  listRooms(roomType: string, labels: Readonly<Record<string, string>> | undefined, limit: number): { id: number; data: Uint8Array } {
    this.listId += 1;
    return { id: this.listId, data: this.checkSize(listRooms(this.listId, roomType, labels, limit)) };
  }

  authenticate(token: string): Uint8Array {
    return this.checkSize(authenticate(token));
  }

  /** Abandons a Join without an answer: if its seat arrives, the core leaves the room. */
  abandonJoin(): void {
    this.isAbandoningJoin = true;
  }

  /** Leaves the queue without waiting for the answer. Does nothing if the wait is over.
   *
   * The MatchCancel is added to `outgoing`, and is sent again after a resume until it is answered. Later messages about the
   * abandoned queue entry are not reported as current. */
  abandonMatch(): void {
    if (this.matchQueue.abandon()) this.outgoing.push(matchCancel());
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

  /** Adds a command; `commandsDue` returns it until it is answered. Returns its id.
   *
   * @throws MessageTooLarge. ClientError: too many commands have no reply. */
  command(name: string, payload: unknown): number {
    const id = this.commandId + 1;
    this.commands.add(id, this.checkSize(command(BigInt(id), name, payload)));
    return (this.commandId = id);
  }

  /** Returns the commands to send now: new ones, and those to be sent again. */
  commandsDue(nowMs: number): Uint8Array[] {
    return this.commands.due(nowMs);
  }

  /** Returns the time of the next due command, if no reply arrives before; null without commands. */
  nextCommandMs(nowMs: number): number | null {
    return this.commands.nextDueMs(nowMs);
  }

  /** Removes a command: it is not sent again. Idempotent. */
  abandonCommand(id: number): void {
    this.commands.remove(id);
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
        this.commands.replied(message, nowMs);
        return { type: "reply", reply: message, isDecided: isDecided(message) };
      case "pong": {
        // The server read its clock half a round trip ago, if both directions take equally long: RFC 5905, section 8.
        const rttMs = Math.max(0, nowMs - Number(message.clientTimeUs) / 1000);
        return { type: "pong", rttMs, clockOffsetMs: Number(message.serverTimeUs) / 1000 + rttMs / 2 - nowMs };
      }
      case "redirect":
        return this.redirected(message);
      case "match": {
        const meaning = this.matchQueue.statusReceived(message);
        return { type: "match", status: message, isCurrent: meaning !== "none", isEnd: meaning === "end" };
      }
      case "error":
        if (message.code === "RESYNC") return { type: "eventsLost", error: message };
        if (isAnswer(message, "Join")) this.isAbandoningJoin = false;
        return { type: "refused", error: message };
      case "rooms":
      case "authenticated":
      case "tokenExpiring":
        return message;
      case "goodbye":
        return { type: "ended", goodbye: message };
      default:
        return null;
    }
  }

  private redirected(redirect: RedirectMessage): Update | null {
    const answer = { type: "redirected", redirect, isMatch: false, isMove: false } as const;
    if (redirect.isResume) return answer;
    const meaning = this.matchQueue.redirectReceived();
    if (meaning) return meaning === "progress" ? { ...answer, isMatch: true } : null;
    if (this.world) return { ...answer, isMove: true }; // a Join from a seat is refused
    this.isAbandoningJoin = false;
    return answer;
  }

  private welcomed(welcome: WelcomeMessage): Update {
    const hasResumed = welcome.generation > 1;
    const wasIn = this.joined?.roomId ?? "";
    const hasLostSession = this.hasSession && !hasResumed;
    if (!hasResumed) this.discardSession();
    this.hasSession = true;
    this.resumeToken = welcome.resumeToken;
    this.sessionId = welcome.sessionId;
    this.generation = welcome.generation;
    this.messageBytesMax = welcome.messageBytesMax;
    this.commands.welcomed(welcome);
    // A client that joins from a seat is refused, so that a seat in the same room does not come from its Join.
    const isJoinInFlight = welcome.isJoining || (welcome.roomId !== "" && welcome.roomId !== wasIn);
    if (!isJoinInFlight) this.isAbandoningJoin = false;
    if (hasResumed) this.resumed(wasIn, welcome.roomId);
    return { type: "welcomed", welcome, hasResumed, lostRoom: this.joined ? "" : wasIn, hasLostSession, isJoinInFlight };
  }

  private resumed(wasIn: string, roomId: string): void {
    this.awaitingKeyframe.clear();
    if (wasIn && roomId === wasIn) this.world?.clearHistory();
    else if (wasIn && !roomId) this.world = this.joined = null;
    if (!this.matchQueue.hasCancelled) return;
    this.matchQueue.resumed();
    this.outgoing.push(matchCancel());
  }

  private seatTaken(joined: JoinedMessage): Update | null {
    const isSameRoom = this.joined?.roomId === joined.roomId;
    if (this.isAbandoningJoin && !isSameRoom) {
      this.isAbandoningJoin = false;
      this.outgoing.push(leave());
      return null;
    }
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

/** The client of one session: requests are promises, and messages of the server are events, in the order of arrival. */

import type { ClientCore } from "./core.js";
import { Emitter, type ListenerError } from "./emitter.js";
import { type EntityListener, EntityTracker } from "./entities.js";
import { ClientError, type Disconnected, type Refused } from "./errors.js";
import { CALL_MS_MAX } from "./machine_calls.js";
import { decode, type Plain } from "./msgpack.js";
import { Room, type RoomTypes } from "./room.js";
import { Session, type SessionOptions } from "./session.js";
import type { SessionState } from "./connection_machine.js";
import type { Socket } from "./socket.js";
import type {
  AuthenticatedMessage,
  EventMessage,
  JoinedMessage,
  JoinOptions,
  ListOptions,
  MatchOptions,
  MatchStatusMessage,
  OpenRoom,
  ReplyMessage,
  Report,
  RoomListMessage,
} from "./types.js";
import type { SessionMachine } from "./session_machine.js";
import type { World } from "./world.js";

const MATCH_MS_MAX = 300_000;
/** The command that every shard answers itself, in any room: schemas/report.py. */
const REPORT_COMMAND = "tickwire.report";

export type { Socket };
export type Options = SessionOptions;

/** The events, and the values that their listeners receive. */
export interface Events {
  /** The world advanced by one or more ticks. */
  state: { tick: number; isKeyframe: boolean };
  /** An event of the room. */
  event: { name: string; payload: Plain };
  joined: JoinedMessage;
  /** The player is no longer in the room. */
  left: { reason: string };
  acknowledged: { seq: number; tick: number };
  match: MatchStatusMessage;
  /** The connection was lost, and the client reconnects. */
  disconnected: { reason: string };
  /** The client reconnected. `isSameSession`: the session was resumed. */
  reconnected: { isSameSession: boolean };
  /** A round trip was measured. */
  pong: { rttMs: number; clockOffsetMs: number };
  refused: Refused;
  /** A listener threw, or its payload cannot be decoded. Goes to the console if there are no listeners. */
  error: ListenerError;
  closed: Disconnected;
}

/** The room types of a game, by their names, as `tickwire codegen typescript` generates them. */
type RoomsOf<Rooms> = { [K in keyof Rooms]: RoomTypes };

/** Options may be left out of a join if the room requires none. */
type JoinArguments<O extends object> = {} extends O ? [options?: JoinOptions<O>] : [options: JoinOptions<O> & { readonly options: O }];

/** Opens a session.
 *
 * @throws Disconnected, Refused. */
export async function connect<Rooms extends RoomsOf<Rooms> = any>(url: string, options: Options = {}): Promise<Client<Rooms>> {
  const client = new Client<Rooms>(url, options);
  await client.open();
  return client;
}

/** @typeParam Rooms: the room types of the game; by default, rooms are not typed. */
export class Client<Rooms extends RoomsOf<Rooms> = any> {
  /** The round trip, milliseconds; NaN before the first measurement. */
  rttMs = NaN;
  /** The server's clock (UTC, milliseconds) minus the client's. */
  clockOffsetMs = NaN;

  private readonly session: Session;
  private readonly emitter = new Emitter<Events>();
  private lastRoom: Room | null = null;
  /** Whether the player has left `lastRoom`. */
  private hasLeft = false;

  constructor(url: string, options: Options) {
    this.session = new Session(url, options, {
      emitted: (event, value) => this.emitted(event, value),
      failed: (error, where) => this.emitter.report(error, where),
    });
  }

  get core(): ClientCore {
    return this.session.machine.core;
  }

  get state(): SessionState {
    return this.session.machine.state;
  }

  /** Reconnects that kept the session. */
  get resumes(): number {
    return this.session.machine.resumes;
  }

  /** Reconnects after which the server did not have the session any more. */
  get sessionsLost(): number {
    return this.session.machine.sessionsLost;
  }

  /** The mirrored state of the room.
   *
   * @throws ClientError: the client is in no room. */
  get world(): World {
    if (!this.core.world) throw new ClientError("the client is in no room");
    return this.core.world;
  }

  /** The room that the client is in. */
  get room(): Room | null {
    return this.core.joined && this.lastRoom;
  }

  /** The address of the shard that has the session. */
  get url(): string {
    return this.session.machine.connection.sessionUrl;
  }

  get bytesReceived(): number {
    return this.session.bytesReceived;
  }

  /** Adds a listener for an event. Returns a function that removes it. */
  on<K extends keyof Events>(name: K, listener: (value: Events[K]) => void): () => void {
    return this.emitter.on(name, listener);
  }

  /** Reports the entities of a table that enter, change and leave, in this room and later ones. Returns a function that stops it.
   *
   * @param fields: the fields whose changes are reported. */
  entities(table: string, fields: readonly string[], listener: EntityListener): () => void {
    // After an exception the tracker continues with the next entity.
    const call = (name: keyof EntityListener) => (id: number) => this.emitter.call((one: number) => listener[name]?.(one), id, "entities");
    const tracker = new EntityTracker(table, fields, { enter: call("enter"), change: call("change"), leave: call("leave") });
    const removers = [
      this.on("state", () => this.core.world && tracker.update(this.core.world)),
      this.on("left", () => tracker.end()),
    ];
    return () => removers.forEach((remove) => remove());
  }

  /** Connects for the first time.
   *
   * @throws Disconnected, Refused. */
  open(): Promise<void> {
    return this.session.open();
  }

  // -- requests of the player -----------------------------------------------------------------------------

  /** Joins a room, on whichever shard it is: follows Redirects.
   *
   * @throws Refused, Disconnected, MessageTooLarge. */
  async join<T extends keyof Rooms & string>(
    roomType: T,
    ...[options = {}]: JoinArguments<Rooms[T]["options"]>
  ): Promise<Room<Rooms[T]>> {
    await this.session.call((nowMs) => this.machine.join(roomType, options, nowMs));
    return this.lastRoom!;
  }

  /** Waits in a queue until a match is found, and joins its room. Every failure also leaves the queue.
   *
   * A match that was final before the cancellation or the timeout is joined, because the other players wait for it.
   *
   * @throws NotMatched, Refused, Disconnected, MessageTooLarge. */
  async match<R extends RoomTypes = any>(
    mode: string,
    options: MatchOptions<R["options"]> = {},
    timeoutMs = MATCH_MS_MAX,
  ): Promise<Room<R>> {
    await this.session.call((nowMs) => this.machine.match(mode, options, timeoutMs, nowMs));
    return this.lastRoom!;
  }

  /** Returns rooms of a type that any player may join now, the fullest first. Join one with its `roomId`.
   *
   * @throws Refused, Disconnected, MessageTooLarge. */
  async listRooms(roomType: string, options: ListOptions = {}): Promise<readonly OpenRoom[]> {
    const list = await this.session.call<RoomListMessage>((nowMs) => this.machine.listRooms(roomType, options, nowMs));
    return list.rooms;
  }

  /** Logs in during the session, or renews its token, without a new connection. Returns the player's id.
   *
   * A guest's session becomes that of the token's player, who keeps its seat. The room knows the player by the guest's id until the
   * next join. The token is used for later connections, too, until the function `token` returns another one than before. If there is
   * such a function, the client renews the token itself: the server requests it some time before the token expires.
   *
   * @throws Refused: the token is invalid or another player's (UNAUTHORIZED), the player is banned, or the server is older
   * (UNSUPPORTED). The session continues. Disconnected, TimeoutError, MessageTooLarge. */
  async authenticate(token: string): Promise<string> {
    return (await this.session.call<AuthenticatedMessage>((nowMs) => this.machine.authenticate(token, nowMs))).playerId;
  }

  /** Leaves the queue. `match` is rejected, unless the match was already final. */
  cancelMatch(): void {
    this.session.pass((nowMs) => this.machine.cancelMatch(nowMs));
  }

  /** Leaves the room.
   *
   * @throws Refused: the client is in no room. Disconnected, TimeoutError. */
  leave(): Promise<void> {
    return this.session.call((nowMs) => this.machine.leave(nowMs));
  }

  /** Sends an input, in the game's units. Missing fields are zero.
   *
   * Returns its sequence number; 0 if it was not sent because the client is reconnecting, when it would arrive too late.
   *
   * @throws ClientError: the client is in no room. RangeError: the room has no such input. Disconnected: the client is closed. */
  sendInput(values: Readonly<Record<string, number>>): number {
    return this.session.sendInput(values);
  }

  /** Runs a command in the room and returns its reply. The command runs at most once, also across reconnects.
   *
   * @throws CommandFailed, SessionLost, Disconnected, TimeoutError, MessageTooLarge; ClientError: the client is in no room, or lost
   * its seat before the reply arrived. */
  async command(name: string, payload: unknown = null, timeoutMs = CALL_MS_MAX): Promise<Plain> {
    const reply = await this.session.call<ReplyMessage>((nowMs) => this.machine.command(name, payload, timeoutMs, nowMs));
    return decode(reply.payload);
  }

  /** Reports what is wrong in the match: the shard logs it and stores the last seconds of the room.
   *
   * @param reason: the player's words, 1 to 500 characters.
   * @returns the number of the report, for the game's support, and whether the room was recorded.
   * @throws CommandFailed: the player has reported less than a minute ago, or the server accepts no reports. */
  async report(reason: string, timeoutMs = CALL_MS_MAX): Promise<Report> {
    const reply = (await this.command(REPORT_COMMAND, { reason }, timeoutMs)) as { report_id: string; is_recorded: boolean };
    return { reportId: reply.report_id, isRecorded: reply.is_recorded };
  }

  /** Ends the session, and frees the seat and the queue entry. */
  close(): void {
    this.session.close();
  }

  /** Drops the connection, as a bad network does; the session is then resumed. For demonstrations and tests. */
  drop(): void {
    this.session.pass((nowMs) => this.machine.drop(nowMs));
  }

  private get machine(): SessionMachine {
    return this.session.machine;
  }

  // -- events of the machine ------------------------------------------------------------------------------

  private emitted(event: keyof Events, value: any): void {
    switch (event) {
      case "event":
        this.emitEvent(value);
        return;
      case "error":
        this.emitter.report(value.error, value.event);
        return;
      case "joined":
        this.enterRoom(value);
        break;
      case "left":
        this.hasLeft = true;
        break;
      case "pong":
        this.rttMs = value.rttMs;
        this.clockOffsetMs = value.clockOffsetMs;
        break;
    }
    this.emitter.emit(event, value);
  }

  /** A room that has moved to another shard stays the same object. */
  private enterRoom(joined: JoinedMessage): void {
    if (!this.hasLeft && this.lastRoom?.roomId === joined.roomId) this.lastRoom.update(joined);
    else this.lastRoom = new Room(this, joined, (error, event) => this.emitter.report(error, event));
    this.hasLeft = false;
  }

  private emitEvent({ name, payload }: EventMessage): void {
    let decoded: Plain;
    try {
      decoded = decode(payload);
    } catch (error) {
      this.emitter.report(error, "event");
      return;
    }
    this.emitter.emit("event", { name, payload: decoded });
    this.room?.emit(name, decoded);
  }
}

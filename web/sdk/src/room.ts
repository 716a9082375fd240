/** A room that the client has joined: its tables, inputs, commands and events, with the types of the game. */

import type { Client } from "./client.js";
import { Emitter } from "./emitter.js";
import { ClientError } from "./errors.js";
import type { JoinedMessage } from "./types.js";
import type { TableView, World } from "./world.js";

/** The types of one room, as `tickwire codegen typescript` generates them. */
export interface RoomTypes {
  /** The options of a join. */
  options: object;
  /** The fields of an input. */
  inputs: object;
  /** The fields of the tables, by the table's name. */
  tables: object;
  /** The commands, as functions. */
  commands: object;
  /** The payloads of the events, by the event's name. */
  events: object;
}

type Names<T> = keyof T & string;

export interface Room<R extends RoomTypes = any> extends Omit<JoinedMessage, "type"> {
  /** Runs the room's commands: `room.commands.buy({ item: "sword" })` returns a promise of the result. A command runs at most
   * once, also across reconnects.
   *
   * @throws CommandFailed, SessionLost, Disconnected, MessageTooLarge; ClientError: the client has left the room. */
  readonly commands: R["commands"];
}

/** A room. It stays the same object when the room moves to another shard. */
export class Room<R extends RoomTypes = any> {
  private readonly emitter: Emitter<any>;

  /** @internal */
  constructor(
    private readonly client: Client<any>,
    joined: JoinedMessage,
    report: (error: unknown, event: string) => void,
  ) {
    this.emitter = new Emitter(report);
    this.update(joined);
    // A promise that resolves with `commands` reads `then`.
    const get = (_: object, name: string | symbol) =>
      name === "then" || typeof name === "symbol" ? undefined : async (values?: unknown) => this.joined().command(name, values);
    (this as { commands: object }).commands = new Proxy({}, { get });
  }

  /** Whether the client is in the room. */
  get isJoined(): boolean {
    return this.client.room === this;
  }

  /** The mirrored state.
   *
   * @throws ClientError: the client has left the room. */
  get world(): World {
    return this.joined().world;
  }

  /** Returns a table by its name.
   *
   * @throws ClientError: the client has left the room. */
  table<K extends Names<R["tables"]>>(name: K): TableView<R["tables"][K] & object> {
    return this.world.table(name);
  }

  /** Sends an input, in the game's units. Missing fields are zero.
   *
   * Returns its sequence number; 0 if it was not sent: the client is not connected, or has left the room. */
  sendInput(values: Readonly<R["inputs"]>): number {
    return this.isJoined && this.client.state !== "closed" ? this.client.sendInput(values as Record<string, number>) : 0;
  }

  /** Adds a listener for an event of the room. Returns a function that removes it. */
  on<K extends Names<R["events"]>>(name: K, listener: (payload: R["events"][K]) => void): () => void {
    return this.emitter.on(name, listener);
  }

  /** @internal */
  update(joined: JoinedMessage): void {
    Object.assign(this, joined);
  }

  /** @internal */
  emit(name: string, payload: unknown): void {
    this.emitter.emit(name, payload);
  }

  private joined(): Client<any> {
    if (!this.isJoined) throw new ClientError("the client has left the room");
    return this.client;
  }
}

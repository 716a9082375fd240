/** The protocol's messages, a room's description and the options of requests, as plain types. */

import type { ErrorCode as WireErrorCode } from "./generated/tickwire/error-code.js";

/** The reason why a request or a command failed, or a connection ends. */
export type ErrorCode = keyof typeof WireErrorCode;

export type FieldKind = "bool" | "uint" | "int" | "real" | "angle" | "enum" | "entity" | "text" | "blob";

/** One field of a table or of an input. */
export interface FieldDescription {
  readonly name: string;
  readonly kind: FieldKind;
  readonly bits: number;
  readonly low: number;
  readonly high: number;
  readonly step: number;
  readonly labels: readonly string[];
  readonly bytesMax: number;
}

/** Adjacent fields of a table that are one value: `size` fields from index `first`. */
export interface GroupDescription {
  readonly name: string;
  readonly kind: "vector" | "quaternion";
  readonly first: number;
  readonly size: number;
}

export interface TableDescription {
  readonly name: string;
  readonly fields: readonly FieldDescription[];
  readonly groups?: readonly GroupDescription[];
}

/** The tables of a room and its inputs. */
export interface StateDescription {
  readonly tables: readonly TableDescription[];
  readonly inputs: readonly FieldDescription[];
}

// -- from the server ----------------------------------------------------------------------------------------

export interface StateMessage {
  readonly type: "state";
  tick: number;
  channel: number;
  age: number;
  flags: number;
  packed: Uint8Array;
}

export interface AckMessage {
  readonly type: "ack";
  tick: number;
  seq: number;
}

export interface WelcomeMessage {
  readonly type: "welcome";
  readonly sessionId: string;
  readonly resumeToken: string;
  readonly serverTimeUs: bigint;
  readonly heartbeatIntervalMs: number;
  readonly inputsPerSecondMax: number;
  readonly generation: number;
  readonly resumeWindowMs: number;
  readonly roomId: string;
  readonly isJoining: boolean;
  readonly messageBytesMax: number;
  readonly messagesPerSecondMax: number;
  readonly bytesPerSecondMax: number;
  /** Why the session has no seat any more in the room that the client was in; empty if it is not known. */
  readonly leftReason: string;
}

export interface JoinedMessage {
  readonly type: "joined";
  readonly roomId: string;
  readonly roomType: string;
  readonly roomName: string;
  readonly tickRateHz: number;
  readonly tick: number;
  readonly entity: number;
  readonly description: StateDescription;
  readonly roomCode: string;
  readonly team: number;
}

export interface EventMessage {
  readonly type: "event";
  readonly number: number;
  readonly name: string;
  readonly payload: Uint8Array;
}

export interface ReplyMessage {
  readonly type: "reply";
  readonly id: bigint;
  readonly ok: boolean;
  readonly error: ErrorCode;
  readonly message: string;
  readonly payload: Uint8Array;
  /** Above 0: the outcome is unknown; send the same id again after this time. */
  readonly retryAfterMs: number;
}

export interface RedirectMessage {
  readonly type: "redirect";
  readonly url: string;
  readonly ticket: string;
  readonly roomType: string;
  readonly roomName: string;
  readonly isResume: boolean;
}

export interface MatchStatusMessage {
  readonly type: "match";
  readonly state: "waiting" | "found" | "cancelled" | "timed_out";
  readonly position: number;
  readonly estimateMs: number;
  readonly mode: string;
  readonly reason: string;
  readonly waitingFor: number;
}

export interface ErrorMessage {
  readonly type: "error";
  readonly code: ErrorCode;
  readonly message: string;
  readonly retryAfterMs: number;
  readonly upgradeTo: number;
  readonly retryable: boolean;
  /** The type of the message that failed, by its name in the union ClientBody; "NONE" if the error is not about a message. */
  readonly requestType: string;
}

export interface GoodbyeMessage {
  readonly type: "goodbye";
  readonly code: ErrorCode;
  readonly message: string;
  readonly comeBack: boolean;
  readonly retryAfterMs: number;
}

/** A room that any player may join. */
export interface OpenRoom {
  readonly roomId: string;
  /** Those in the room, and the seats that are reserved. */
  readonly players: number;
  readonly maxPlayers: number;
  /** The labels that the room has set. */
  readonly labels: Readonly<Record<string, string>>;
}

/** The reply to a report of this player. */
export interface Report {
  /** The number of the report, for the game's support. */
  readonly reportId: string;
  /** Whether the last seconds of the room are stored. */
  readonly isRecorded: boolean;
}

export interface RoomListMessage {
  readonly type: "rooms";
  readonly id: number;
  readonly rooms: readonly OpenRoom[];
}

/** The answer to Authenticate: the session is this player's. */
export interface AuthenticatedMessage {
  readonly type: "authenticated";
  readonly playerId: string;
  /** The time until the token expires; 0 if it does not. */
  readonly expiresInMs: number;
}

export type ServerMessage =
  | StateMessage
  | AckMessage
  | WelcomeMessage
  | JoinedMessage
  | { readonly type: "left"; readonly reason: string }
  | EventMessage
  | ReplyMessage
  | { readonly type: "pong"; readonly clientTimeUs: bigint; readonly serverTimeUs: bigint; readonly tick: number }
  | RedirectMessage
  | MatchStatusMessage
  | ErrorMessage
  | GoodbyeMessage
  | RoomListMessage
  | AuthenticatedMessage
  | { readonly type: "tokenExpiring"; readonly expiresInMs: number }
  | { readonly type: "rate"; readonly ticksPerUpdate: number; readonly keyframesOnly: boolean }
  | { readonly type: "unknown" };

// -- from the client ----------------------------------------------------------------------------------------

/** Selects a room: by ticket, id, code or name, in this order, or else any open room of the type. */
export interface JoinOptions<Options extends object = object> {
  readonly name?: string;
  readonly ticket?: string;
  readonly roomId?: string;
  readonly code?: string;
  readonly isPrivate?: boolean;
  readonly labels?: Readonly<Record<string, string>>;
  readonly party?: readonly [code: string, size: number];
  /** Passed to the room's `on_join`. */
  readonly options?: Readonly<Options>;
}

/** Selects the rooms of a list. */
export interface ListOptions {
  /** Only rooms with these labels. */
  readonly labels?: Readonly<Record<string, string>>;
  /** The most rooms to return, 1 to 100; 50 by default. */
  readonly limit?: number;
}

/** Requirements for a match. */
export interface MatchOptions<Options extends object = object> {
  readonly options?: Readonly<Options>;
  readonly party?: readonly [code: string, size: number];
  readonly latencies?: Readonly<Record<string, number>>;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface HelloFields {
  readonly build: string;
  readonly token: string;
  readonly resumeToken: string;
  readonly lastTick: number;
  readonly lastEvent: number;
  readonly roomId: string;
  readonly attempt: number;
}

/** The calls of a session machine that wait for an outcome, and the updates that answer their requests. */

import type { Backoff } from "./backoff.js";
import { isAnswer, type Update } from "./core.js";
import type { RedirectMessage } from "./types.js";

/** How long a request waits for the server's answer, also across reconnects. */
export const CALL_MS_MAX = 10_000;
/** How long a join is repeated while it is redirected to a shard that cannot be reached, and how long the client tries to reach a
 * shard. A dead shard leaves the directory within some seconds. */
export const JOIN_MS_MAX = 30_000;
/** How long the queue may take to decide between a cancellation and a match. */
export const CANCEL_MS_MAX = 5_000;
/** The number of the call with which the machine itself follows a move to another room. */
export const MOVE = 0;

/** The time after which a new token is requested again, if there was none. */
export const RENEWAL_MS = 10_000;

/** renewal: the machine itself renews the token of the session. */
export type CallKind = "open" | "join" | "leave" | "move" | "match" | "listRooms" | "command" | "authenticate" | "renewal";

/** The step of a call that joins a room.
 *
 * abandoned: an earlier, abandoned Join has no answer yet. leaving: the client leaves its room, for that of a match. visiting: it
 * connects to the shard of the room. pause: that shard cannot be reached, and the Join is repeated after a pause. */
export type SeatStep = "none" | "abandoned" | "leaving" | "visiting" | "requested" | "pause";

/** A request that waits for an answer; it is sent again after a reconnect. */
export interface Request {
  /** The message's type in the schema: an Error names the type of the message that it answers. */
  readonly type: "Join" | "Leave" | "MatchRequest" | "ListRooms" | "Authenticate";
  readonly data: Uint8Array;
  /** Of a ListRooms. */
  readonly id?: number;
}

export class PendingCall {
  request: Request | null = null;
  /** The first Join, which is repeated at the initial URL; null if it is to be joined with a ticket. */
  first: Uint8Array | null = null;
  /** For the room's `on_join`. */
  options: Readonly<object> | undefined;
  step: SeatStep = "none";
  /** The Redirect that is being followed. */
  redirect: RedirectMessage | null = null;
  /** Redirects in a row. */
  redirects = 0;
  /** The pauses of a join that is repeated, until `untilMs`. */
  backoff: Backoff | null = null;
  untilMs = 0;
  /** How long a match waits. */
  timeoutMs = 0;
  /** A match is over its time; a MatchCancel must be sent. */
  isLate = false;
  isCancelled = false;
  commandId = 0;
  /** The mode of a match, the name of a command. */
  name = "";
  /** With which the session authenticates. */
  token = "";

  /** @param number: identifies the call in `resolve` and `reject`. */
  constructor(
    readonly number: number,
    readonly kind: CallKind,
  ) {}
}

/** Returns whether an update answers a request. */
export function answers(update: Update, { type, id }: Request): boolean {
  switch (update.type) {
    case "refused":
      return isAnswer(update.error, type);
    case "joined":
      return type === "Join" && !update.isSameRoom;
    case "left":
      return type === "Leave";
    case "redirected":
      return !update.isMove && !update.redirect.isResume && type === (update.isMatch ? "MatchRequest" : "Join");
    case "rooms":
      return type === "ListRooms" && update.id === id;
    case "authenticated":
      return type === "Authenticate";
    case "match":
      return type === "MatchRequest" && update.isEnd;
    default:
      return false;
  }
}

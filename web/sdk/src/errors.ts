/** The errors of this package. All of them are ClientErrors. */

import type { ErrorCode, ErrorMessage, GoodbyeMessage, MatchStatusMessage } from "./types.js";

export class ClientError extends Error {
  constructor(message: string) {
    super(message);
    this.name = new.target.name;
  }
}

/** The bytes are not a message, or do not fit the state that was received before. */
export class MalformedMessage extends ClientError {}

/** The server refused a request: `code` is the reason, `retryAfterMs` the time to wait before the next attempt. */
export class Refused extends ClientError {
  readonly code: ErrorCode;
  readonly isRetryable: boolean;
  readonly retryAfterMs: number;

  constructor(error: ErrorMessage) {
    super(`${error.code}: ${error.message}`);
    this.code = error.code;
    this.isRetryable = error.retryable;
    this.retryAfterMs = error.retryAfterMs;
  }
}

/** The server or the room rejected a command; `code` is INVALID_ARGUMENT if an argument does not have the declared type. */
export class CommandFailed extends ClientError {
  constructor(
    readonly code: ErrorCode,
    message: string,
  ) {
    super(`${code}: ${message}`);
  }
}

/** The session ended before a command was answered: whether the command ran is unknown. */
export class SessionLost extends ClientError {}

/** The connection is closed, and the client does not reconnect. */
export class Disconnected extends ClientError {
  constructor(
    message: string,
    readonly goodbye: GoodbyeMessage | null = null,
    /** The close code; 0 without one. */
    readonly code = 0,
  ) {
    super(message);
  }
}

/** The connection could not be opened. */
export class ConnectFailed extends Disconnected {
  constructor(
    message: string,
    /** The delay that the server advised; 0 without advice. */
    readonly retryAfterMs = 0,
  ) {
    super(message);
  }
}

/** The server did not answer in time, or no match was found in time. */
export class TimeoutError extends ClientError {}

/** A message, or a text in it, is larger than the server accepts. It was not sent. */
export class MessageTooLarge extends ClientError {}

/** The player left the matchmaking queue without a match; `reason` says why: cancelled, timed out, a friend left. */
export class NotMatched extends ClientError {
  constructor(
    readonly state: MatchStatusMessage["state"],
    readonly reason: string,
  ) {
    super(`${state}: ${reason}`);
  }
}

/** The player HTTP API refused a request (RFC 9457): `code` decides how a program handles it, such as "IDENTITY_TAKEN". */
export class ApiError extends ClientError {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail = "",
    /** When a retry makes sense; 0 if that is unknown. */
    readonly retryAfterMs = 0,
  ) {
    super(detail ? `${code}: ${detail}` : code);
  }

  /** Whether the same request may succeed later. */
  get isTemporary(): boolean {
    return [429, 502, 503, 504].includes(this.status) || this.code === "REQUEST_IN_PROGRESS";
  }
}

/** The player HTTP API does not answer; whether it has run the request is unknown. */
export class ApiUnreachable extends ApiError {
  constructor(detail: string) {
    super(503, "UNAVAILABLE", detail);
  }
}

/** The player is not logged in, or the server has ended the login. */
export class NotLoggedIn extends ClientError {}

/** What can go wrong, as one small tree: every error that this package raises is a TickwireError. */

import type { ErrorMessage, GoodbyeMessage } from "./messages.js";

export class TickwireError extends Error {
  constructor(message: string) {
    super(message);
    this.name = new.target.name;
  }
}

/** Bytes that are no message, or that do not fit what was told before. */
export class MalformedMessage extends TickwireError {}

/** The server has refused something; `code` says what, `retryAfterMs` when to ask again. */
export class Refused extends TickwireError {
  readonly code: string;
  readonly isRetryable: boolean;
  readonly retryAfterMs: number;

  constructor(error: ErrorMessage) {
    super(`${error.code}: ${error.message}`);
    this.code = error.code;
    this.isRetryable = error.retryable;
    this.retryAfterMs = error.retryAfterMs;
  }
}

/** A command was answered with no. */
export class CommandFailed extends TickwireError {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(`${code}: ${message}`);
  }
}

/** The session is over: what was under way has no answer, and whether it happened is not known. */
export class SessionLost extends TickwireError {}

/** There is no connection, and none is tried any more. */
export class Disconnected extends TickwireError {
  constructor(
    message: string,
    readonly goodbye: GoodbyeMessage | null = null,
    /** The close code; 0: there was none. */
    readonly code = 0,
  ) {
    super(message);
  }
}

/** A message, or a text in it, is larger than the server accepts. Nothing was sent. */
export class MessageTooLarge extends TickwireError {}

/** The place in the queue is gone: cancelled, or out of time. */
export class NotMatched extends TickwireError {}

/** The WebSocket close codes: the table of docs/protocol.md, "Errors and closing". */

import type { GoodbyeMessage } from "./types.js";

/** Ends the session at the server. */
export const NORMAL = 1000;
/** The connection broke without a close. */
export const ABNORMAL = 1006;
/** A message cannot be decoded. */
export const PROTOCOL_ERROR = 1002;
/** The client closes the connection to open another one; the session is kept. Browsers allow 1000 and 3000 to 4999. */
export const RECONNECT = 4000;

/** After these codes the last Error was about the connection: the server cannot serve the session now, or the client sent too much. */
const CLOSED_AFTER_ERROR = new Set([4002, 4004]);
const FINAL = new Set([NORMAL, 1002, 1003, 1007, 1008, 1009]);

/** Returns whether the server closed the connection for good, so that the client must not reconnect.
 *
 * @param goodbye: the server's Goodbye, if it sent one; it takes precedence over the code. */
export function isFinal(code: number, goodbye: GoodbyeMessage | null = null): boolean {
  if (goodbye) return !goodbye.comeBack;
  return FINAL.has(code) || (code >= 4500 && code <= 4999);
}

/** Returns the delay that the server advised before the next connection; 0 without advice.
 *
 * @param refusal: the newest Error on the connection. It counts only if the close code refers to it. */
export function advisedMs(code: number, goodbye: GoodbyeMessage | null, refusal: { readonly retryAfterMs: number } | null): number {
  if (goodbye) return goodbye.retryAfterMs;
  return refusal && CLOSED_AFTER_ERROR.has(code) ? refusal.retryAfterMs : 0;
}

/** The WebSocket close codes: the table of docs/protocol.md, "Errors and closing". */

/** Ends the session at the server. */
export const NORMAL = 1000;
/** The connection broke without a close. */
export const ABNORMAL = 1006;
/** The client closes the connection to open another one; the session is kept. Browsers allow 1000 and 3000 to 4999. */
export const RECONNECT = 4000;

const FINAL = new Set([NORMAL, 1002, 1003, 1007, 1008, 1009]);

/** Returns whether the server closed the connection for good, so that the client must not reconnect. */
export function isFinal(code: number): boolean {
  return FINAL.has(code) || (code >= 4500 && code <= 4999);
}

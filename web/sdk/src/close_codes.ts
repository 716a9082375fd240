/** What a close of the connection means: the table of docs/protocol.md, "Errors and closing". */

/** The session ends at the server. */
export const NORMAL = 1000;
/** There was no close: the connection broke. */
export const ABNORMAL = 1006;
/** The client closes a connection in order to make another; the session stays. Browsers allow 1000 and 3000 to 4999. */
export const RECONNECT = 4000;

const FINAL = new Set([NORMAL, 1002, 1003, 1007, 1008, 1009]);

/** Whether reconnecting after this close makes no sense. */
export function isFinal(code: number): boolean {
  return FINAL.has(code) || (code >= 4500 && code <= 4999);
}

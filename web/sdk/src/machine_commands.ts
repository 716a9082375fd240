/** The commands of the session machine: values that a shell carries out, in order. schemas/scenarios/README.md defines them. */

import type { Events } from "./client.js";

export type MachineCommand =
  /** Get the player's token, and answer with `tokenReceived` or `tokenFailed`. It replaces an earlier request. */
  | { readonly type: "requestToken" }
  /** Open a WebSocket, and answer with `connected`, `connectFailed` or `connectionLost`. */
  | { readonly type: "connect"; readonly url: string }
  /** Send a message on the newest connection. */
  | { readonly type: "send"; readonly data: Uint8Array }
  /** Close the newest connection. Its later events must not be passed to the machine. 1000 ends the session. */
  | { readonly type: "close"; readonly code: number; readonly reason: string }
  /** Call `timerFired` at this time, on the machine's clock. It replaces the previous timer; null: no timer. */
  | { readonly type: "setTimer"; readonly atMs: number | null }
  /** A call has succeeded: with a JoinedMessage (join, match), a RoomListMessage, a ReplyMessage (command), or null. */
  | { readonly type: "resolve"; readonly call: number; readonly value: unknown }
  | { readonly type: "reject"; readonly call: number; readonly error: Error }
  /** Call the listeners of an event. */
  | { readonly type: "emit"; readonly event: keyof Events; readonly value: unknown }
  /** Save a text, from which `open` resumes the session after the page was reloaded. */
  | { readonly type: "storeSession"; readonly text: string }
  /** Delete the saved text. */
  | { readonly type: "clearSession" };

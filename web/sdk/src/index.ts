export { Backoff } from "./backoff.js";
export { type Events, type Options, type Socket, Client, connect } from "./client.js";
export { type Update, ClientCore } from "./core.js";
export type { ListenerError } from "./emitter.js";
export { type EntityListener, EntityWatch } from "./entities.js";
export {
  CommandFailed,
  Disconnected,
  MalformedMessage,
  MessageTooLarge,
  NotMatched,
  Refused,
  SessionLost,
  TickwireError,
} from "./errors.js";
export { type FieldDescription, type FieldKind, Field } from "./fields.js";
export { Interpolation, TickClock, shortWay } from "./interpolation.js";
export type { JoinedMessage, MatchStatusMessage, MatchWish, RedirectMessage, Wish } from "./messages.js";
export { SCHEMA_VERSION, SUBPROTOCOL, decodeServer } from "./messages.js";
export { type Plain, decode as decodeMsgpack, encode as encodeMsgpack } from "./msgpack.js";
export { Prediction } from "./prediction.js";
export { type StateDescription, type TableDescription, TableView, World } from "./world.js";

export { Backoff } from "./backoff.js";
export { type Events, type Options, type Socket, Client, connect } from "./client.js";
export { type Update, ClientCore } from "./core.js";
export type { ListenerError } from "./emitter.js";
export { type EntityListener, EntityTracker } from "./entities.js";
export {
  CommandFailed,
  Disconnected,
  MalformedMessage,
  MessageTooLarge,
  NotMatched,
  Refused,
  SessionLost,
  ClientError,
} from "./errors.js";
export { Field } from "./fields.js";
export type { Group, ReadNumber, ReadVector } from "./groups.js";
export { Interpolation, TickClock, shortWay } from "./interpolation.js";
export { SCHEMA_VERSION, SUBPROTOCOL, decodeServer } from "./messages.js";
export { type Plain, decode as decodeMsgpack, encode as encodeMsgpack } from "./msgpack.js";
export { Prediction, type PredictionOptions } from "./prediction.js";
export { slerp } from "./quaternions.js";
export { type RoomTypes, Room } from "./room.js";
export type { SmoothingOptions } from "./smoothing.js";
export type {
  ErrorCode,
  FieldDescription,
  FieldKind,
  GroupDescription,
  JoinedMessage,
  JoinOptions,
  ListOptions,
  MatchOptions,
  MatchStatusMessage,
  OpenRoom,
  RedirectMessage,
  Report,
  StateDescription,
  TableDescription,
} from "./types.js";
export { TableView, World } from "./world.js";

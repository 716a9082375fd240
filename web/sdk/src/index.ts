export { AccountClient, type AccountDetails, type AccountOptions } from "./account_client.js";
export { Backoff } from "./backoff.js";
export { type Events, type Options, type Socket, Client, connect } from "./client.js";
export { type Update, ClientCore } from "./core.js";
export type { ListenerError } from "./emitter.js";
export { type EntityListener, EntityTracker } from "./entities.js";
export {
  ApiError,
  ApiUnreachable,
  ClientError,
  CommandFailed,
  ConnectFailed,
  Disconnected,
  MalformedMessage,
  MessageTooLarge,
  NotLoggedIn,
  NotMatched,
  Refused,
  SessionLost,
  TimeoutError,
} from "./errors.js";
export { Field } from "./fields.js";
export type { Group, ReadNumber, ReadVector } from "./groups.js";
export { Interpolation, TickClock, shortWay } from "./interpolation.js";
export { SCHEMA_VERSION } from "./client_messages.js";
export { SUBPROTOCOL, decodeServer } from "./messages.js";
export { type Plain, decode as decodeMsgpack, encode as encodeMsgpack } from "./msgpack.js";
export { Prediction, type PredictionOptions } from "./prediction.js";
export { slerp } from "./quaternions.js";
export { type RoomTypes, Room } from "./room.js";
export { SessionMachine } from "./session_machine.js";
export type { MachineCommand } from "./machine_commands.js";
export { type SessionStorage, browserStorage } from "./storage.js";
export type { SmootherOptions } from "./smoother.js";
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

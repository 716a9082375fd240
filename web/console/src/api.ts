/** The part of the admin API that the console uses. The whole API is described in /v1/openapi.json. */

const TOKEN = "tickwire-operations-token";
const ANSWER_MS_MAX = 5000;
const DOWNLOAD_MS_MAX = 120_000;

export interface Shard {
  shard_id: string;
  url: string;
  region: string;
  build: string;
  state: string;
  rooms: number;
  rooms_max: number;
  players: number;
  load: number;
  load_max: number;
  is_this: boolean;
}

export interface ShardDetail {
  shard_id: string;
  build: string;
  uptime_s: number;
  is_ready: boolean;
  reasons: Record<string, string>;
  rooms: number;
  sessions: number;
  load: number;
  ticks: number;
  ticks_late: number;
  bytes_sent: number;
}

export interface Room {
  room_id: string;
  room_type: string;
  name: string;
  tick: number;
  tick_rate_hz: number;
  players: number;
  seats: number;
  entities: number;
  epoch: number;
  is_durable: boolean;
  access: string;
  tuning_version: number;
}

export interface FieldView {
  name: string;
  kind: string;
  low: number;
  high: number;
}

export interface RoomState {
  room: Room;
  tables: { name: string; entities: number; ids: number[]; columns: Record<string, any[]>; fields: FieldView[] }[];
}

export interface Session {
  session_id: string;
  player_id: string;
  state: string;
  is_connected: boolean;
  connections: number;
  rtt_ms: number;
  backlog_bytes: number;
  unacknowledged_events: number;
}

export interface RoomError {
  room_id: string;
  room_type: string;
  tick: number;
  hook: string;
  player_id: string;
  arguments: string[];
  error: string;
  frames: string[];
  consequence: string;
  count: number;
  age_s: number;
  recording: string;
}

export interface Recording {
  name: string;
  trigger: string;
  size: number;
  is_complete: boolean;
}

export interface Queue {
  mode: string;
  waiting: number;
  oldest_s: number;
}

export interface Operator {
  name: string;
  role: "read" | "support" | "admin";
}

export interface PlayerSummary {
  player_id: string;
  has_account: boolean;
  identities: string[];
  created_at: string | null;
}

export interface PlayerView {
  player_id: string;
  account: {
    created_at: string;
    state: string;
    identities: { provider: string; subject: string; linked_at: string }[];
    merged_into: string;
    merged_from: string[];
  } | null;
  ban: { until: string; reason: string } | null;
  presence: { shard_id: string; session_id: string; is_connected: boolean; room_id: string; room_type: string } | null;
  is_presence_known: boolean;
  version: number;
  holdings: Record<string, number>;
  profile: Record<string, unknown>;
}

export interface LedgerEntry {
  key: string;
  at: string;
  session_id: string;
  room: string;
  changes: Record<string, number>;
}

export interface AuditEntry {
  at: string;
  operator: string;
  role: string;
  action: string;
  target: Record<string, string>;
  request: string;
  note: string;
  result: number;
}

export interface Page<T> {
  items: T[];
  next_cursor: string;
}

export class NotAllowed extends Error {}

/** Returns the operator's token. It is stored for this tab only, and removed from the address. */
export function token(): string {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(TOKEN, given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(TOKEN) ?? "";
}

export function storeToken(value: string): void {
  sessionStorage.setItem(TOKEN, value);
}

/** Calls the admin API.
 *
 * @throws NotAllowed: the token is missing or invalid. Error: the API's error message. */
export async function request<T>(path: string, method = "GET", body?: unknown): Promise<T> {
  const answer = await send(path, method, body, ANSWER_MS_MAX);
  return (await answer.json()) as T;
}

/** Downloads a file of the admin API; throws as `request` does. */
export async function download(path: string): Promise<Blob> {
  const answer = await send(path, "GET", undefined, DOWNLOAD_MS_MAX);
  return answer.blob();
}

async function send(path: string, method: string, body: unknown, timeoutMs: number): Promise<Response> {
  const answer = await fetch(`/v1${path}`, {
    method,
    headers: { Authorization: `Bearer ${token()}`, "X-Operator": "console" },
    signal: AbortSignal.timeout(timeoutMs),
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (answer.ok) return answer;
  const { detail, title } = (await answer.json()) as { detail?: string; title: string }; // RFC 9457
  const message = detail || title;
  throw answer.status === 401 || answer.status === 403 ? new NotAllowed(message) : new Error(message);
}

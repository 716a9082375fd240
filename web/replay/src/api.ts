/** The API of the server that replays a recording: server/viewer/server.py. */

const ANSWER_MS_MAX = 60_000; // a seek replays the ticks since the keyframe before

export interface Column {
  name: string;
  kind: string;
  low: number;
  high: number;
  labels: string[];
}

export interface TableDescription {
  name: string;
  columns: Column[];
  position: string[];
  heading: string;
}

export interface Recording {
  file: string;
  room_id: string;
  room_type: string;
  room_name: string;
  build: string;
  tick_rate_hz: number;
  first_tick: number;
  last_tick: number;
  keyframes: number[];
  tables: TableDescription[];
  ended: string;
  not_compared: string[];
}

export type Kind = "join" | "leave" | "connection" | "command" | "event" | "error" | "outcome" | "tuning" | "divergence";

export interface Entry {
  tick: number;
  kind: Kind;
  text: string;
}

export interface Timeline {
  entries: Entry[];
  more: number;
}

export interface Overview {
  replayed_to: number;
  is_complete: boolean;
  divergence: Entry | null;
  buckets: Partial<Record<Kind, number>>[];
  problem: string;
}

export interface TableState {
  name: string;
  entities: number;
  ids: number[];
  columns: Record<string, any[]>;
}

export interface State {
  tick: number;
  tables: TableState[];
}

async function request<T>(path: string, query: Record<string, number> = {}): Promise<T> {
  const text = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
  const answer = await fetch(`./api/${path}?${text}`, { signal: AbortSignal.timeout(ANSWER_MS_MAX) });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found as T;
}

export const readRecording = () => request<Recording>("recording");
export const readOverview = (buckets: number) => request<Overview>("overview", { buckets });
export const readTimeline = (from: number, to: number, limit: number) =>
  request<Timeline>("timeline", { from, to, limit });
/** Reads the states of some ticks. The server may return fewer than it was asked for, but at least one. */
export const readStates = (from: number, to: number) => request<State[]>("states", { from, to });

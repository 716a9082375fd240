/** The console: the fleet, this shard's rooms, and one room live. Reads only the admin API, once a second. */

import {
  NotAllowed,
  type Queue,
  type Recording,
  request,
  type Room,
  type RoomError,
  type RoomState,
  type Session,
  type Shard,
  type ShardDetail,
  storeToken,
  token,
} from "./api.js";
import { showAudit } from "./audit.js";
import { Chart } from "./chart.js";
import { confirmed } from "./confirmation.js";
import { forgetOperator, may, showOperator } from "./operator.js";
import { startPlayers } from "./players.js";
import { showRecordings } from "./recordings.js";
import { button, fill } from "./tables.js";
import { drawWorld } from "./world.js";

const REFRESH_MS = 1000;
const SESSIONS_SHOWN = 100;
const ERRORS_SHOWN = 50;
const by = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const chart = (id: string, format: (value: number) => string) =>
  new Chart(by<HTMLCanvasElement>(id), by(`${id}-now`), format);
const charts = {
  ticks: chart("ticks", (value) => value.toFixed(0)),
  late: chart("late", (value) => value.toFixed(1)),
  bytes: chart("bytes", (value) => value.toFixed(1)),
  load: chart("load", (value) => `${(value * 100).toFixed(1)} %`),
};
let before: { detail: ShardDetail; atMs: number } | null = null;
let shownRoom = "";

function fail(error: Error): void {
  by("status").textContent = error.message;
}

async function act(question: string, path: string, body?: unknown): Promise<void> {
  if (!(await confirmed(question))) return;
  try {
    await request(path, "POST", body);
    await refresh();
  } catch (error) {
    by("status").textContent = String((error as Error).message);
  }
}

/** Writes the last seconds of a room to a recording, or records the next ones. Affects no player, so it asks nothing. */
async function record(room: string, body: { last_s: number } | { seconds: number }): Promise<void> {
  try {
    const recording = await request<{ name: string }>(`/rooms/${encodeURIComponent(room)}/record`, "POST", body);
    by("recorded").textContent = `${recording.name} ${"seconds" in body ? "is complete in a minute" : "is being written"}`;
  } catch (error) {
    by("recorded").textContent = String((error as Error).message);
  }
}

function meter(value: number, most: number): Node {
  const made = document.createElement("meter");
  made.max = 1;
  made.high = most;
  made.optimum = 0;
  made.value = value;
  made.title = `${(value * 100).toFixed(1)} %`;
  return made;
}

function showFleet(shards: readonly Shard[]): void {
  const rows = shards.map((shard) => [
    `${shard.shard_id}${shard.is_this ? " (this)" : ""}`,
    shard.state,
    `${shard.rooms} of ${shard.rooms_max}`,
    String(shard.players),
    meter(shard.load, shard.load_max),
    shard.build,
    shard.region || "–",
    !may("admin") ? "" : button("drain", "bad", () => {
      const question = `Drain ${shard.shard_id}? Its ${shard.rooms} rooms move to other shards, and its process exits. The supervisor restarts it.`;
      void act(question, `/fleet/${encodeURIComponent(shard.shard_id)}/drain`);
    }),
  ]);
  fill(by("fleet"), ["shard", "state", "rooms", "players", "load", "build", "region", ""], rows);
}

function showRooms(rooms: readonly Room[]): void {
  const rows = [...rooms]
    .sort((a, b) => b.players - a.players)
    .map((room) => [
      button(room.name || room.room_id, "link", () => {
        shownRoom = room.room_id;
        void refresh();
      }),
      room.room_type,
      `${room.players} of ${room.seats}`,
      String(room.entities),
      String(room.tick),
      `${room.tick_rate_hz} Hz`,
      room.access + (room.is_durable ? ", durable" : ""),
      String(room.tuning_version || "–"),
    ]);
  fill(by("rooms"), ["room", "type", "players", "entities", "tick", "rate", "access", "tuning"], rows);
}

function showSessions(sessions: readonly Session[]): void {
  const rows = sessions.map((session) => [
    session.player_id,
    session.is_connected ? "connected" : "disconnected",
    session.is_connected ? `${session.rtt_ms.toFixed(1)} ms` : "–",
    `${(session.backlog_bytes / 1024).toFixed(1)} KB`,
    String(session.unacknowledged_events),
    String(session.connections),
    !may("support") ? "" : button("kick", "bad", () => {
      void act(`End the session of ${session.player_id}?`, `/sessions/${session.session_id}/kick`, {});
    }),
  ]);
  fill(by("sessions"), ["player", "state", "ping", "backlog", "events", "connections", ""], rows);
}

/** Shows the newest errors of the games' code. The lines of the code are in a part that opens. */
function showErrors(errors: readonly RoomError[], rooms: readonly Room[]): void {
  by("errors").hidden = errors.length === 0;
  if (by("error-list").querySelector("details[open]")) return; // replacing a list that is read would close it
  const names = new Map(rooms.map((room) => [room.room_id, room.name]));
  by("error-list").replaceChildren(
    ...errors.slice(0, ERRORS_SHOWN).map((error) => {
      const made = document.createElement("details");
      const summary = document.createElement("summary");
      const repeated = error.count > 1 ? `, ${error.count} times` : "";
      summary.textContent = `${error.room_type} / ${names.get(error.room_id) || error.room_id}: ${error.hook}: ${error.error} (tick ${error.tick}, ${Math.round(error.age_s)} s ago${repeated}; ${error.consequence})`;
      const lines = document.createElement("pre");
      const player = error.player_id ? [`player: ${error.player_id}`] : [];
      const recording = error.recording ? [`recording: ${error.recording}`] : [];
      lines.textContent = [...error.frames, ...player, `arguments: ${error.arguments.join(", ")}`, ...recording].join("\n");
      made.append(summary, lines);
      return made;
    }),
  );
}

function measure(detail: ShardDetail): void {
  const now = performance.now();
  // A restarted shard counts from 0, so its earlier counters cannot be compared.
  if (before && before.detail.shard_id === detail.shard_id && before.detail.uptime_s <= detail.uptime_s) {
    const seconds = (now - before.atMs) / 1000;
    charts.ticks.add((detail.ticks - before.detail.ticks) / seconds);
    charts.late.add((detail.ticks_late - before.detail.ticks_late) / seconds);
    charts.bytes.add((detail.bytes_sent - before.detail.bytes_sent) / seconds / 1024);
    charts.load.add(detail.load);
  }
  before = { detail, atMs: now };
  const state = detail.is_ready ? "ready" : Object.values(detail.reasons).join("; ");
  const minutes = Math.floor(detail.uptime_s / 60);
  by("shard").textContent = `${detail.shard_id} · ${state} · up ${minutes} min · ${detail.sessions} sessions`;
}

async function showRoom(rooms: readonly Room[]): Promise<void> {
  const room = rooms.find((one) => one.room_id === shownRoom) ?? [...rooms].sort((a, b) => b.players - a.players)[0];
  by("room").hidden = !room;
  if (!room) return;
  shownRoom = room.room_id;
  const [state, sessions] = await Promise.all([
    request<RoomState>(`/rooms/${room.room_id}/state?limit=2000`),
    request<Session[]>(`/sessions?room_id=${room.room_id}&limit=${SESSIONS_SHOWN}`),
  ]);
  by("room-title").textContent = `${room.room_type} / ${room.name || room.room_id}, tick ${state.room.tick}`;
  drawWorld(by<HTMLCanvasElement>("world"), by("legend"), state);
  showSessions(sessions);
  by("record-last").onclick = () => void record(room.room_id, { last_s: 10 });
  by("record-next").onclick = () => void record(room.room_id, { seconds: 60 });
  by("close-room").onclick = () => {
    void act(`Close ${room.name || room.room_id}? Its ${room.players} players are notified.`, `/rooms/${room.room_id}/close`, {});
  };
}

async function refresh(): Promise<void> {
  await showOperator();
  const [detail, shards, rooms, modes, errors, recordings] = await Promise.all([
    request<ShardDetail>("/shard"),
    request<Shard[]>("/fleet"),
    request<Room[]>("/rooms"),
    request<string[]>("/queues"),
    request<RoomError[]>("/room-errors"),
    request<Recording[]>("/recordings"),
  ]);
  by("sign-in").hidden = true;
  document.querySelector("main")!.hidden = false;
  measure(detail);
  showFleet(shards);
  const queues = await Promise.all(modes.map((mode) => request<Queue>(`/queues/${mode}`)));
  by("queues").textContent = queues.length
    ? `Queues: ${queues.map((queue) => `${queue.mode} ${queue.waiting} waiting`).join(" · ")}`
    : "No queues";
  showRooms(rooms);
  showErrors(errors, rooms);
  showRecordings(recordings, fail);
  await showRoom(rooms);
  by("status").textContent = "";
  await showAudit().catch(fail); // last, because the rooms are shown also while MongoDB does not answer
}

async function poll(): Promise<void> {
  try {
    await refresh();
  } catch (error) {
    if (error instanceof NotAllowed) {
      by("sign-in").hidden = false;
      document.querySelector("main")!.hidden = true;
      if (token()) by("status").textContent = error.message;
      return;
    }
    by("status").textContent = String((error as Error).message);
  }
  setTimeout(() => void poll(), REFRESH_MS);
}

by<HTMLFormElement>("sign-in").onsubmit = (event) => {
  event.preventDefault();
  storeToken(by<HTMLInputElement>("token").value.trim());
  forgetOperator();
  void poll();
};
token();
startPlayers(fail);
void poll();

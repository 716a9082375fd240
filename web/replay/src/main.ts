/** The page that plays a recording of a room: a slider over its ticks, with the world, the tables and the entries. */

import { readRecording, type Recording } from "./api.js";
import { formatLink, readLink } from "./deep_link.js";
import { by } from "./elements.js";
import { Entity } from "./entity.js";
import { Entries } from "./entries.js";
import { Marks } from "./marks.js";
import { Position } from "./position.js";
import { Rows } from "./rows.js";
import { Selection } from "./selection.js";
import { States } from "./states.js";
import { World } from "./world.js";

const CHART_TICKS = 200;
const WINDOW_S = 10;
const LINK_MS = 300; // browsers limit how often a page may change its address

function writeStatus(text: string): void {
  const status = by("status");
  if (status.textContent !== text) status.textContent = text; // a screen reader reads each change
}

class Page {
  private isDirty = true;
  private error = "";
  private linkAtMs = 0;
  private readonly dirty = () => {
    this.isDirty = true;
  };
  /** Shows an error. It does not request a new frame, which would send the same request again. */
  private readonly fail = (error: Error) => {
    this.error = error.message;
    this.showStatus();
  };
  private readonly arrived = () => {
    this.error = "";
    this.isDirty = true;
  };
  private readonly selection = new Selection(this.dirty);
  private readonly position: Position;
  private readonly states: States;
  private readonly marks: Marks;
  private readonly world: World;
  private readonly rows: Rows;
  private readonly entity: Entity;
  private readonly entries: Entries;

  constructor(private readonly recording: Recording) {
    const { first_tick: first, last_tick: last, tick_rate_hz: rate, tables } = recording;
    this.position = new Position(first, last, rate, this.dirty);
    this.states = new States(first, last, this.arrived, this.fail);
    this.marks = new Marks(recording, this.arrived, this.fail);
    this.world = new World(by<HTMLCanvasElement>("world"), by("legend"), tables, this.selection);
    this.rows = new Rows(tables, this.selection, this.dirty);
    this.entity = new Entity(tables, this.selection);
    this.entries = new Entries(Math.ceil(WINDOW_S * rate), (tick) => this.show(tick), this.dirty, this.fail);
  }

  start(): void {
    const { recording, position } = this;
    by("recording").textContent = `${recording.room_type} / ${recording.room_name || recording.room_id} · ${recording.file} · build ${recording.build || "–"} · ended: ${recording.ended}`;
    const changed = recording.not_compared.join(", ");
    by("notes").textContent = changed ? `Not compared, because their declarations have changed: ${changed}.` : "";
    document.querySelector("main")!.hidden = false;
    const slider = by<HTMLInputElement>("slider");
    const tick = by<HTMLInputElement>("tick");
    for (const input of [slider, tick]) {
      input.min = String(recording.first_tick);
      input.max = String(recording.last_tick);
    }
    slider.oninput = () => position.seek(slider.valueAsNumber);
    tick.onchange = () => this.show(tick.valueAsNumber);
    by<HTMLSelectElement>("speed").onchange = (event) => {
      position.speed = Number((event.target as HTMLSelectElement).value);
    };
    const second = Math.round(recording.tick_rate_hz);
    by("play").onclick = () => position.toggle();
    for (const [id, ticks] of [["back-second", -second], ["back", -1], ["forward", 1], ["forward-second", second]] as const) {
      by(id).onclick = () => position.step(ticks);
    }
    addEventListener("keydown", (event) => this.press(event, second));
    addEventListener("hashchange", () => this.follow());
    addEventListener("resize", this.dirty);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", this.dirty);
    this.follow();
    void this.marks.follow();
    let before = performance.now();
    const frame = (now: number) => {
      position.advance((now - before) / 1000, (at) => this.states.get(at) !== undefined || this.states.isMissing(at));
      before = now;
      this.draw(now);
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  /** Shows the tick and the entity of the address. */
  private follow(): void {
    const { tick, entity } = readLink(location.hash);
    if (entity) {
      this.selection.select(...entity);
      this.rows.choose(entity[0]);
    }
    if (tick !== null && tick !== this.position.tick) this.show(tick);
  }

  private show(tick: number): void {
    this.position.isPlaying = false;
    this.position.seek(tick);
  }

  private press(event: KeyboardEvent, second: number): void {
    const target = event.target as HTMLElement;
    const isTyping = target instanceof HTMLSelectElement || (target instanceof HTMLInputElement && target.type === "number");
    const isPressing = event.key === " " && !by("player").contains(target) && target.matches("button, input");
    if (isTyping || isPressing || event.ctrlKey || event.altKey || event.metaKey) return;
    const { position, recording } = this;
    const actions: Record<string, () => void> = {
      " ": () => position.toggle(),
      ArrowLeft: () => position.step(event.shiftKey ? -second : -1),
      ArrowRight: () => position.step(event.shiftKey ? second : 1),
      Home: () => this.show(recording.first_tick),
      End: () => this.show(recording.last_tick),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault(); // a focused button or slider would act, too
    action();
  }

  private draw(nowMs: number): void {
    const { position, states, recording } = this;
    this.writeLink(nowMs);
    if (!this.isDirty) return;
    this.isDirty = false;
    const { tick } = position;
    states.want(tick);
    this.entries.want(tick, this.marks.overview?.replayed_to ?? -1);
    by<HTMLInputElement>("slider").value = String(tick);
    if (document.activeElement !== by("tick")) by<HTMLInputElement>("tick").value = String(tick);
    by("play").textContent = position.isPlaying ? "Pause" : "Play";
    const seconds = (tick - recording.first_tick) / recording.tick_rate_hz;
    const all = (recording.last_tick - recording.first_tick) / recording.tick_rate_hz;
    by("time").textContent = `${seconds.toFixed(2)} s of ${all.toFixed(2)} s`;
    this.marks.draw();
    this.showProgress();
    this.entries.draw(tick);
    const state = states.get(tick);
    document.body.toggleAttribute("data-waits", !state);
    this.showStatus();
    if (!state) return;
    this.world.draw(state);
    this.rows.draw(state, states.get(tick - 1));
    this.entity.draw(states.until(tick, CHART_TICKS));
    document.body.dataset.tick = String(tick);
  }

  private showStatus(): void {
    const missing = this.states.isMissing(this.position.tick) ? "the file has no intact state of this tick" : "";
    writeStatus(this.error || [missing, this.marks.overview?.problem].filter(Boolean).join("; "));
  }

  private showProgress(): void {
    const overview = this.marks.overview;
    if (!overview) return;
    const { first_tick: first, last_tick: last } = this.recording;
    const share = (overview.replayed_to - first) / Math.max(1, last - first);
    by("progress").textContent = overview.is_complete ? "" : `events and errors: ${Math.floor(share * 100)} % replayed`;
    const divergence = by("divergence");
    divergence.hidden = !overview.divergence;
    if (!overview.divergence) return;
    const { tick, text } = overview.divergence;
    divergence.textContent = `diverges at tick ${tick}`;
    divergence.title = text;
    divergence.onclick = () => this.show(tick);
  }

  private writeLink(nowMs: number): void {
    if (this.position.isPlaying || nowMs - this.linkAtMs < LINK_MS) return;
    const link = formatLink(this.position.tick, this.selection.table, this.selection.id);
    if (link === location.hash) return;
    this.linkAtMs = nowMs;
    history.replaceState(null, "", link);
  }
}

readRecording().then((recording) => new Page(recording).start(), (error: Error) => writeStatus(error.message));

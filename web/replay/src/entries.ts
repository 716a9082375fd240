/** The entries around the shown tick: joins, commands, events, errors. A click shows the tick of an entry. */

import { type Entry, type Kind, readTimeline } from "./api.js";
import { by, element } from "./elements.js";

const KINDS: readonly Kind[] = ["join", "leave", "connection", "command", "event", "error", "outcome", "tuning", "divergence"];
const LIMIT = 400;

export class Entries {
  private readonly hidden = new Set<Kind>();
  private entries: readonly Entry[] = [];
  private more = 0;
  private range: readonly [number, number] = [0, -1];
  private replayedTo = -1;
  private isLoading = false;

  constructor(
    private readonly window: number,
    private readonly seek: (tick: number) => void,
    private readonly changed: () => void,
    private readonly failed: (error: Error) => void,
  ) {
    by("kinds").replaceChildren(
      ...KINDS.map((kind) => {
        const box = element("input");
        box.type = "checkbox";
        box.checked = true;
        box.onchange = () => {
          if (box.checked) this.hidden.delete(kind);
          else this.hidden.add(kind);
          this.changed();
        };
        const label = element("label", box);
        label.append(kind);
        return label;
      }),
    );
  }

  /** Loads the entries around a tick, unless those that are loaded are enough. */
  want(tick: number, replayedTo: number): void {
    const [from, to] = this.range;
    const isNear = tick - this.window / 2 >= from && tick + this.window / 2 <= to;
    const isNew = replayedTo > this.replayedTo && this.replayedTo < to;
    if (this.isLoading || (isNear && !isNew)) return;
    void this.load(tick, replayedTo);
  }

  private async load(tick: number, replayedTo: number): Promise<void> {
    this.isLoading = true;
    try {
      const range = [tick - this.window, tick + this.window] as const;
      const { entries, more } = await readTimeline(Math.max(0, range[0]), range[1], LIMIT);
      [this.entries, this.more, this.range, this.replayedTo] = [entries, more, range, replayedTo];
    } catch (error) {
      this.failed(error as Error);
      return;
    } finally {
      this.isLoading = false;
    }
    this.changed();
  }

  draw(tick: number): void {
    const found = this.entries.filter((entry) => !this.hidden.has(entry.kind));
    by("shown").textContent = this.more ? `${this.more} more near this tick` : "";
    const list = by("entries");
    list.replaceChildren(...found.map((entry) => this.item(entry, tick)));
    const current = list.querySelector<HTMLElement>("[aria-current]") ?? list.querySelector<HTMLElement>(".later");
    if (current) list.scrollTop = current.offsetTop - list.offsetTop - list.clientHeight / 2;
    else list.scrollTop = list.scrollHeight;
  }

  private item(entry: Entry, tick: number): HTMLLIElement {
    const made = element("li", "", `${entry.kind}${entry.tick > tick ? " later" : ""}`);
    if (entry.tick === tick) made.setAttribute("aria-current", "true");
    const button = element("button", String(entry.tick), "link");
    button.title = "Show this tick";
    button.onclick = () => this.seek(entry.tick);
    made.append(button, element("b", entry.kind), element("span", entry.text));
    return made;
  }
}

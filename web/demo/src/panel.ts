/** The network panel: shows the connection's figures, and simulates a bad network. */

import type { Client } from "tickwire";

import type { NetworkConditions } from "./network_conditions.js";

const REFRESH_MS = 500;

export class Panel {
  private bytesSeen = 0;
  private seenMs = performance.now();
  private lastStateMs = 0;
  private jitterMs = 0;
  private client: Client | null = null;

  constructor(private readonly root: HTMLElement, conditions: NetworkConditions) {
    root.querySelector("#cut")!.addEventListener("click", () => this.client?.drop());
    root.querySelector<HTMLSelectElement>("#latency")!.onchange = (event) => {
      conditions.latencyMs = Number((event.target as HTMLSelectElement).value);
    };
    root.querySelector<HTMLSelectElement>("#loss")!.onchange = (event) => {
      conditions.lossShare = Number((event.target as HTMLSelectElement).value) / 100;
    };
    setInterval(() => this.show(), REFRESH_MS);
  }

  /** Shows the figures of a client from now on. */
  attach(client: Client): void {
    this.client = client;
    this.bytesSeen = client.bytesReceived;
    client.on("state", () => this.recordState());
  }

  private recordState(): void {
    const now = performance.now();
    const interval = 1000 / (this.client?.room?.tickRateHz ?? 20);
    const late = now - this.lastStateMs - interval;
    // As in RFC 3550, section 6.4.1: a running mean of the deviation of intervals. An idle room sends nothing, so long gaps
    // do not count.
    if (this.lastStateMs && late < 10 * interval) this.jitterMs += (Math.abs(late) - this.jitterMs) / 16;
    this.lastStateMs = now;
  }

  private show(): void {
    const { client } = this;
    if (!client) return;
    const now = performance.now();
    const rate = ((client.bytesReceived - this.bytesSeen) * 1000) / (now - this.seenMs);
    this.bytesSeen = client.bytesReceived;
    this.seenMs = now;
    this.put("ping", Number.isNaN(client.rttMs) ? "–" : `${client.rttMs.toFixed(0)} ms`);
    this.put("jitter", `${this.jitterMs.toFixed(1)} ms`);
    this.put("received", rate >= 1000 ? `${(rate / 1000).toFixed(1)} KB/s` : `${rate.toFixed(0)} B/s`);
    this.put("tick", String(client.core.world?.tick ?? "–"));
    this.put("resumes", String(client.resumes));
  }

  /** Shows the number of players. */
  players(count: number): void {
    this.put("players", String(count));
  }

  private put(name: string, text: string): void {
    this.root.querySelector(`#net-${name}`)!.textContent = text;
  }
}

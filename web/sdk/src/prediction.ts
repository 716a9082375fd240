/** Client-side prediction of the player's own entity: inputs apply immediately, and again on top of each server state.
 *
 * The server's state arrives one round trip late and contains the inputs up to a sequence number. Later inputs are applied
 * again; if the game's step equals the server's, the result is the position that the player already sees. As in Gambetta's
 * "Client-Side Prediction and Server Reconciliation". Where it differs, `sample` hides the correction over some frames. */

import type { Client } from "./client.js";
import { Field, quantiseInput } from "./fields.js";
import { Smoother, type SmootherOptions } from "./smoother.js";
import type { FieldDescription } from "./types.js";

const PENDING_MAX = 128;

export interface PredictionOptions<State> extends SmootherOptions {
  /** The fields of an input, `room.description.inputs`: inputs are quantised as the server does before they are applied. */
  readonly inputs?: readonly FieldDescription[];
  /** Fields of the state that the server does not send, with their first values. They follow from the inputs. */
  readonly local?: Partial<State>;
  /** The time between two inputs: `sample` then moves between the last two steps. 0: it does not. */
  readonly tickMs?: number;
}

interface PendingInput<State, Input> {
  readonly seq: number;
  readonly input: Input;
  /** The state after this input. */
  after: State | null;
}

/** @typeParam Sent: the part of the state that the server sends; all of it, without `local` fields. */
export class Prediction<State extends Record<string, number>, Input, Sent extends Partial<State> = State> {
  private readonly pending: PendingInput<State, Input>[] = [];
  private readonly inputs: readonly Field[] | null;
  private readonly smoother: Smoother;
  private readonly tickMs: number;
  private local: Partial<State>;
  private confirmedState: State | null = null;
  private state: State | null = null;

  /** @param step: applies an input for one tick and returns the new state. */
  constructor(
    private readonly step: (state: Readonly<State>, input: Input) => State,
    private readonly options: PredictionOptions<State> = {},
  ) {
    this.inputs = options.inputs?.map((field) => new Field(field)) ?? null;
    this.smoother = new Smoother(options);
    this.tickMs = options.tickMs ?? 0;
    this.local = { ...options.local } as Partial<State>;
  }

  /** The predicted state; null before the first server state. */
  get now(): Readonly<State> | null {
    return this.state;
  }

  /** The number of inputs that the server has not acknowledged. */
  get unacknowledged(): number {
    return this.pending.length;
  }

  /** Returns the state to draw: between the last two steps, and without jumps where the server has corrected the prediction.
   *
   * @param nowMs: the clock of `options.now`; the time of this call by default. */
  sample(nowMs = this.smoother.now()): State | null {
    return this.state && this.smoother.sample(this.state, nowMs, this.tickMs);
  }

  /** Applies an input that was sent.
   *
   * @param seq: the result of `client.sendInput`; 0 means that the input was not sent, and changes nothing. */
  sent(seq: number, input: Input): void {
    if (!seq) return;
    const { inputs } = this;
    const quantised = inputs ? (quantiseInput(inputs, input as Record<string, number>) as Input) : input;
    const after = this.state && this.step(this.state, quantised);
    this.pending.push({ seq, input: quantised, after });
    if (this.pending.length > PENDING_MAX) this.pending.shift();
    if (this.state) this.smoother.stepped(this.state);
    this.state = after;
  }

  /** Applies a server state, which contains all inputs up to `seq`. */
  confirmed(state: Sent, seq: number): void {
    this.removeUntil(seq);
    this.confirmedState = { ...this.local, ...state } as unknown as State;
    this.replay();
  }

  /** Applies an acknowledgement: the last server state contains all inputs up to `seq`.
   *
   * If no new state was sent, these inputs changed nothing at the server. */
  acknowledged(seq: number): void {
    this.removeUntil(seq);
    if (this.confirmedState) this.confirmedState = { ...this.confirmedState, ...this.local };
    this.replay();
  }

  /** Discards pending inputs, after the connection that they were sent on was lost. */
  clearPending(): void {
    this.acknowledged(Infinity);
  }

  /** Discards the state and all pending inputs. */
  reset(): void {
    this.confirmedState = null;
    this.clearPending();
    this.local = { ...this.options.local } as Partial<State>;
    this.smoother.reset();
  }

  private removeUntil(seq: number): void {
    let last: State | null = null;
    while (this.pending.length && this.pending[0]!.seq <= seq) last = this.pending.shift()!.after;
    if (last) for (const name in this.local) this.local[name] = last[name];
  }

  private replay(): void {
    const before = this.state;
    let state = this.confirmedState;
    for (const pending of this.pending) pending.after = state = state && this.step(state, pending.input);
    this.state = state;
    if (before && state) this.smoother.corrected(before, state);
  }

  /** Updates the prediction from a client's events. Returns a function that stops it.
   *
   * @param read: returns the own entity's state in the client's world; null if the entity does not exist. */
  follow(client: Client, read: () => Sent | null): () => void {
    const acknowledge = () => this.acknowledged(client.core.acknowledgedSeq);
    const removers = [
      client.on("state", () => {
        const state = read();
        if (state) this.confirmed(state, client.core.acknowledgedSeq);
      }),
      // The acknowledgement arrives before its tick's state, if there is one: the delay lets the state apply first.
      client.on("acknowledged", () => setTimeout(acknowledge)),
      client.on("reconnected", () => this.clearPending()),
      client.on("joined", () => this.clearPending()),
      client.on("left", () => this.reset()),
    ];
    return () => removers.forEach((remove) => remove());
  }
}

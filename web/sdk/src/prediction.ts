/** Client-side prediction of the player's own entity: inputs apply immediately, and again on top of each server state.
 *
 * The server's state arrives one round trip late and contains the inputs up to a sequence number. Later inputs are applied
 * again; if the game's step equals the server's, the result is the position that the player already sees. As in Gambetta's
 * "Client-Side Prediction and Server Reconciliation". */

import type { Client } from "./client.js";

const PENDING_MAX = 128;

export class Prediction<State extends Record<string, number>, Input> {
  private readonly pending: { seq: number; input: Input }[] = [];
  private confirmedState: State | null = null;
  private state: State | null = null;

  /** @param step: applies an input for one tick and returns the new state. */
  constructor(private readonly step: (state: Readonly<State>, input: Input) => State) {}

  /** The predicted state; null before the first server state. */
  get now(): Readonly<State> | null {
    return this.state;
  }

  /** The number of inputs that the server has not acknowledged. */
  get unacknowledged(): number {
    return this.pending.length;
  }

  /** Applies an input that was sent.
   *
   * @param seq: the result of `client.input`; 0 means that the input was not sent, and changes nothing. */
  sent(seq: number, input: Input): void {
    if (!seq) return;
    this.pending.push({ seq, input });
    if (this.pending.length > PENDING_MAX) this.pending.shift();
    if (this.state) this.state = this.step(this.state, input);
  }

  /** Applies a server state, which contains all inputs up to `seq`. */
  confirmed(state: State, seq: number): void {
    this.confirmedState = state;
    this.acknowledged(seq);
  }

  /** Applies an acknowledgement: the last server state contains all inputs up to `seq`.
   *
   * If no new state was sent, these inputs changed nothing at the server. */
  acknowledged(seq: number): void {
    while (this.pending.length && this.pending[0]!.seq <= seq) this.pending.shift();
    const { confirmedState } = this;
    this.state = confirmedState && this.pending.reduce<State>((before, { input }) => this.step(before, input), confirmedState);
  }

  /** Discards pending inputs, after the connection that they were sent on was lost. */
  clearPending(): void {
    this.acknowledged(Infinity);
  }

  /** Discards the state and all pending inputs. */
  reset(): void {
    this.confirmedState = null;
    this.clearPending();
  }

  /** Updates the prediction from a client's events. Returns a function that stops it.
   *
   * @param read: returns the own entity's state in the client's world; null if the entity does not exist. */
  follow(client: Client, read: () => State | null): () => void {
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

/** Client-side prediction of the player's own entity: inputs apply at once, and again on top of each state of the server.
 *
 * The server's state arrives a round trip late and contains the inputs up to a number. Inputs sent after it are applied again;
 * if the game's step is the server's, the result is the position the player sees already. As in Gambetta's "Client-Side
 * Prediction and Server Reconciliation". */

import type { Client } from "./client.js";

const PENDING_MAX = 128;

export class Prediction<State extends Record<string, number>, Wish> {
  private readonly pending: { seq: number; wish: Wish }[] = [];
  private confirmedState: State | null = null;
  private state: State | null = null;

  /** @param step: what an input does in one tick; returns a new state. */
  constructor(private readonly step: (state: Readonly<State>, wish: Wish) => State) {}

  /** The predicted state; null before the first state of the server. */
  get now(): Readonly<State> | null {
    return this.state;
  }

  /** The number of inputs that the server has not acknowledged. */
  get unacknowledged(): number {
    return this.pending.length;
  }

  /** Applies an input that was sent.
   *
   * @param seq: as `client.input` returned it; 0, an input that was not sent, changes nothing. */
  sent(seq: number, wish: Wish): void {
    if (!seq) return;
    this.pending.push({ seq, wish });
    if (this.pending.length > PENDING_MAX) this.pending.shift();
    if (this.state) this.state = this.step(this.state, wish);
  }

  /** Takes the server's state, which contains all inputs up to `seq`. */
  confirmed(state: State, seq: number): void {
    this.confirmedState = state;
    this.acknowledged(seq);
  }

  /** Takes an acknowledgement: the server's last state contains all inputs up to `seq`.
   *
   * Without a new state the inputs have changed nothing there. */
  acknowledged(seq: number): void {
    while (this.pending.length && this.pending[0]!.seq <= seq) this.pending.shift();
    const { confirmedState } = this;
    this.state = confirmedState && this.pending.reduce<State>((before, { wish }) => this.step(before, wish), confirmedState);
  }

  /** Forgets pending inputs: the connection they were sent on is gone. */
  forget(): void {
    this.acknowledged(Infinity);
  }

  /** Forgets everything. */
  reset(): void {
    this.confirmedState = null;
    this.forget();
  }

  /** Keeps this up to date with a client. Returns a function that ends it.
   *
   * @param read: returns the own entity's state in the client's world; null when it has none. */
  follow(client: Client, read: () => State | null): () => void {
    const acknowledge = () => this.acknowledged(client.core.acknowledgedSeq);
    const ends = [
      client.on("state", () => {
        const state = read();
        if (state) this.confirmed(state, client.core.acknowledgedSeq);
      }),
      // The acknowledgement precedes its tick's state, which is on the way if there is one: the state comes first.
      client.on("acknowledged", () => setTimeout(acknowledge)),
      client.on("back", () => this.forget()),
      client.on("joined", () => this.forget()),
      client.on("left", () => this.reset()),
    ];
    return () => ends.forEach((end) => end());
  }
}

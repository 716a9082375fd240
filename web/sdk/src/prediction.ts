/** The own player without waiting for the server: inputs are applied at once, and again on top of what the server says.
 *
 * The server's word comes a round trip late, and holds the inputs up to a number. What was sent after it is applied to it
 * anew; if the game's step is the server's, the result is where the player is already. Where it is not, the difference is
 * taken back over some frames instead of at once. As in Gambetta's "Client-Side Prediction and Server Reconciliation". */

const PENDING_MAX = 128;

export class Prediction<State extends Record<string, number>, Wish> {
  private readonly pending: { seq: number; wish: Wish }[] = [];
  private state: State | null = null;

  /** @param step: what an input does in one tick; it gives a new state. */
  constructor(private readonly step: (state: Readonly<State>, wish: Wish) => State) {}

  /** Where the player is, as far as is known; null before the server has said it once. */
  get now(): Readonly<State> | null {
    return this.state;
  }

  /** How many inputs the server has not spoken of. */
  get unacknowledged(): number {
    return this.pending.length;
  }

  /** An input was sent. */
  sent(seq: number, wish: Wish): void {
    this.pending.push({ seq, wish });
    if (this.pending.length > PENDING_MAX) this.pending.shift();
    if (this.state) this.state = this.step(this.state, wish);
  }

  /** The server has said where the player is, with all inputs up to `seq`. */
  confirmed(state: State, seq: number): void {
    while (this.pending.length && this.pending[0]!.seq <= seq) this.pending.shift();
    this.state = this.pending.reduce<State>((before, { wish }) => this.step(before, wish), state);
  }

  /** All is forgotten: another room, or another session. */
  reset(): void {
    this.pending.length = 0;
    this.state = null;
  }
}

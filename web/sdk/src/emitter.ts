/** Listeners by event. An exception in one is reported, and reaches neither the others nor the caller. */

/** An exception that a listener has thrown. */
export interface ListenerError {
  readonly error: unknown;
  /** The event whose listener it was. */
  readonly event: string;
}

type Listener<Value> = (value: Value) => void;

export class Emitter<Events extends { error: ListenerError }> {
  private readonly listeners = new Map<keyof Events, Set<Listener<any>>>();

  /** Calls the listener with each event of that name. Returns a function that ends this. */
  on<K extends keyof Events>(name: K, listener: Listener<Events[K]>): () => void {
    const known = this.listeners.get(name) ?? new Set();
    this.listeners.set(name, known.add(listener));
    return () => known.delete(listener);
  }

  emit<K extends keyof Events & string>(name: K, value: Events[K]): void {
    for (const listener of this.listeners.get(name) ?? []) {
      try {
        listener(value);
      } catch (error) {
        this.report(error, name);
      }
    }
  }

  /** Passes an exception to the listeners of `error`; to the console when there are none, or one of them has thrown it. */
  report(error: unknown, event: string): void {
    if (event !== "error" && this.listeners.get("error")?.size) this.emit("error", { error, event });
    else console.error(`tickwire: exception in a listener of "${event}"`, error);
  }
}

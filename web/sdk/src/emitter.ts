/** Listeners by event. An exception in a listener is reported; it does not reach other listeners or the caller. So is the rejection
 * of the promise that an asynchronous listener returns: unhandled, it would end a process of Node. */

/** An exception that a listener threw. */
export interface ListenerError {
  readonly error: unknown;
  /** The event that the listener handled. */
  readonly event: string;
}

type Listener<Value> = (value: Value) => unknown;

export class Emitter<Events extends { error: ListenerError }> {
  private readonly listeners = new Map<keyof Events, Set<Listener<any>>>();

  /** @param forward: receives the exceptions instead of the `error` listeners. */
  constructor(private readonly forward?: (error: unknown, event: string) => void) {}

  /** Adds a listener for an event. Returns a function that removes it. */
  on<K extends keyof Events>(name: K, listener: Listener<Events[K]>): () => void {
    const known = this.listeners.get(name) ?? new Set();
    this.listeners.set(name, known.add(listener));
    return () => known.delete(listener);
  }

  emit<K extends keyof Events & string>(name: K, value: Events[K]): void {
    for (const listener of this.listeners.get(name) ?? []) this.call(listener, value, name);
  }

  /** Calls a listener, and reports its exception or the rejection of its promise under the name of the event. */
  call<Value>(listener: Listener<Value>, value: Value, event: string): void {
    try {
      const result = listener(value);
      if (result instanceof Promise) result.catch((error: unknown) => this.report(error, event));
    } catch (error) {
      this.report(error, event);
    }
  }

  /** Passes an exception to the `error` listeners; to the console if there are none, or if one of them threw it. */
  report(error: unknown, event: string): void {
    if (this.forward) this.forward(error, event);
    else if (event !== "error" && this.listeners.get("error")?.size) this.emit("error", { error, event });
    else console.error(`tickwire: exception in a listener of "${event}"`, error);
  }
}

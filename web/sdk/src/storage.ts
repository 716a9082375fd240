/** Where an application keeps its session, so that it is resumed after the page was reloaded. */

/** Keeps one text. The methods may return promises. */
export interface SessionStorage {
  load(): string | null | Promise<string | null>;
  save(text: string): void | Promise<void>;
  clear(): void | Promise<void>;
}

/** Returns a storage in the browser.
 *
 * @param key: use another one for each server of a page.
 * @param area: `localStorage` outlives the browser and is shared by all tabs: the session follows the newest one. With
 * `sessionStorage` each tab has a session of its own; a duplicated tab takes over the one of the first. */
export function browserStorage(key = "tickwire", area: () => Storage = () => localStorage): SessionStorage {
  return {
    load: () => area().getItem(key),
    save: (text) => area().setItem(key, text),
    clear: () => area().removeItem(key),
  };
}

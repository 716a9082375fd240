/** Browser events that suggest that the network or the page's timers work again. Other platforms have none. */

const WINDOW_EVENTS = ["online", "pageshow"];
const DOCUMENT_EVENTS = ["visibilitychange", "resume"];

/** Calls `wake` at each of these events. Returns a function that stops it. */
export function listenForHints(wake: () => void): () => void {
  const { window, document } = globalThis as { window?: EventTarget; document?: Document };
  if (!window?.addEventListener || !document?.addEventListener) return () => undefined;
  const hint = () => {
    if (document.visibilityState !== "hidden") wake();
  };
  for (const name of WINDOW_EVENTS) window.addEventListener(name, hint);
  for (const name of DOCUMENT_EVENTS) document.addEventListener(name, hint);
  return () => {
    for (const name of WINDOW_EVENTS) window.removeEventListener(name, hint);
    for (const name of DOCUMENT_EVENTS) document.removeEventListener(name, hint);
  };
}

// What outlasts the viewer: a change of page by the visitor's key, and a reload of the tab by the browser's own store.

import { History } from "./history.js";

const STORE = "radtune";
const WINDOW = [127.5, 255];
export const USUAL = { window: WINDOW, gain: 4, view: "swipe", place: null };
const kept = new Map();
let noted = null;

/**
 * Return what this visitor's viewer remembers.
 *
 * @param {string} visitor
 * @returns {object} history, window, gain, view and place; after a reload also `back`, see `keep`
 */
export function recall(visitor) {
  const memory = kept.get(visitor) || stored(visitor) || { ...USUAL, history: new History() };
  kept.clear();
  kept.set(visitor, memory);
  return memory;
}

/**
 * Say what a reload of this tab would need, for the server will not know it any more.
 *
 * @param {() => {visitor: string, memory: object, back: {settings: object, source: string[], pristine: boolean,
 *   here: boolean}}} tell - `here`: the viewer is on the page
 */
export function keep(tell) {
  noted = tell;
}

// Also on another page, where no viewer is.
window.addEventListener("pagehide", () => {
  if (!noted) return;
  const { visitor, memory, back } = noted();
  try {
    sessionStorage.setItem(STORE, JSON.stringify({ ...memory, visitor, address: location.search, back }));
  } catch {
    sessionStorage.removeItem(STORE); // full: a reload begins anew
  }
});

function stored(visitor) {
  const text = sessionStorage.getItem(STORE);
  sessionStorage.removeItem(STORE);
  const [navigation] = performance.getEntriesByType("navigation");
  // A tab that was duplicated, or a link that was opened, begins anew.
  if (!text || !["reload", "back_forward"].includes(navigation?.type)) return null;
  const { visitor: other, address, ...memory } = JSON.parse(text);
  if (other === visitor || address !== location.search) return null;
  return { ...memory, history: Object.assign(new History(), memory.history) };
}

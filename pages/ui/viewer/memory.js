// What outlasts the viewer: a change of page by the visitor's key, a server that knows the visitor no more by the page
// itself, and a reload of the tab by the browser's own store.

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
 * @returns {object} history, window, gain, view and place; with `back`, see `keep`, where the server knows nothing of
 *   them: after a reload of the tab, as `back.reloaded` says, or where it took up another visitor meanwhile
 */
export function recall(visitor) {
  const memory = kept.get(visitor) || outlived(visitor) || stored(visitor) || { ...USUAL, history: new History() };
  kept.clear();
  kept.set(visitor, memory);
  return memory;
}

/**
 * Say what a reload of this tab would need, for the server will not know it any more.
 *
 * @param {() => {visitor: string, memory: object, back: {settings: object, source: string[], pristine: boolean,
 *   here: boolean}}} tell - `here`: the viewer is on the page
 * @param {Function} [instead] - what it replaces: where another viewer has spoken since, nothing changes
 */
export function keep(tell, instead = noted) {
  if (noted === instead) noted = tell;
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

function outlived(visitor) {
  if (!noted) return null;
  const { visitor: other, memory, back } = noted();
  return other === visitor ? null : { ...memory, back };
}

function stored(visitor) {
  const text = sessionStorage.getItem(STORE);
  sessionStorage.removeItem(STORE);
  const [navigation] = performance.getEntriesByType("navigation");
  // A tab that was duplicated, or a link that was opened, begins anew.
  if (!text || !["reload", "back_forward"].includes(navigation?.type)) return null;
  const { visitor: other, address, ...memory } = JSON.parse(text);
  if (other === visitor || address !== location.search) return null;
  return { ...memory, history: Object.assign(new History(), memory.history), back: { ...memory.back, reloaded: true } };
}

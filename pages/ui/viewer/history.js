// Undo, redo, the list of settings that were tried, and a second setting to compare with.

import { make } from "./elements.js";

const MOST = 100;

/** Settings as they rested, with what was measured of them. Kept for as long as the page is open. */
export class History {
  constructor() {
    this.undone = [];
    this.done = []; // the last is the one in use
    this.entries = []; // newest first, for the eye
    this.other = null; // the second setting, B
  }

  get settings() {
    return this.done.at(-1);
  }

  /** Take note of settings that have come to rest. */
  rest(settings) {
    if (this.settings && same(this.settings, settings)) return;
    this.done.push(settings);
    this.done.splice(0, this.done.length - MOST);
    this.undone = [];
  }

  /** Step back or forth; returns the settings to go to, or null. */
  step(back) {
    const [from, to] = back ? [this.done, this.undone] : [this.undone, this.done];
    if (from.length < (back ? 2 : 1)) return null;
    to.push(from.pop());
    return this.settings;
  }

  /** Keep what was measured at full size. */
  measured(film, settings, facts) {
    const found = this.entries.find((entry) => entry.film === film.id && same(entry.settings, settings));
    if (found) this.entries.splice(this.entries.indexOf(found), 1);
    this.entries.unshift({ film: film.id, label: film.label, settings, rows: facts.rows });
    this.entries.splice(MOST);
  }
}

export function same(one, other) {
  return Object.keys(one).length === Object.keys(other).length && Object.entries(one).every(([path, value]) => other[path] === value);
}

/** Say in what settings differ from the defaults, in the words of the controls. */
export function told(settings, { steps, defaults }) {
  const words = [];
  for (const { label, switch: path, parameters } of steps) {
    if (path && settings[path] !== defaults[path]) words.push(`${label} ${settings[path] ? "on" : "off"}`);
    if (path && !settings[path]) continue;
    for (const parameter of parameters) {
      const value = settings[parameter.path];
      if (value !== defaults[parameter.path]) words.push(`${parameter.label} ${parameter.options?.[value] || value}`);
    }
  }
  return words.join(", ") || "Defaults";
}

/** Draw the list; a click returns to an entry. */
export function drawHistory(list, history, data, current, back) {
  const shown = data.metrics.filter(({ name }) => name === "ssim" || name === "brightness");
  const value = (entry, { name, label }) => {
    const row = entry.rows.find(({ metric }) => metric === name);
    return make("span", { class: row.judged && (row.missed ? "rt-bad" : "rt-fine"), text: `${label} ${row.after}` });
  };
  list.replaceChildren(
    ...history.entries.map((entry) => {
      const own = entry.film === data.film.id;
      const film = own ? "" : ` (${entry.label || "another film"})`;
      const here = own && same(entry.settings, current);
      return make("li", {}, [
        make("button", { type: "button", class: "rt-entry", "aria-current": here, onclick: () => back(entry.settings) }, [
          make("span", { text: told(entry.settings, data) + film }),
          make("span", { class: "rt-entry-values" }, shown.map((metric) => value(entry, metric))),
        ]),
      ]);
    }),
  );
}

// The bar above the pictures: views, zoom, window, tools, undo; and what state the picture is in.

import { icon, make, say, set, unlessScrolled } from "./elements.js";
import { VIEWS } from "./stage.js";

const ICONS = {
  undo: "M12.5 8c-2.65 0-5.05 1-6.9 2.6L2 7v9h9l-3.6-3.6A8 8 0 0 1 20.1 16l2.4-.8A10.5 10.5 0 0 0 12.5 8z",
  redo: "M18.4 10.6A10.5 10.5 0 0 0 1.5 15.2l2.4.8a8 8 0 0 1 12.7-3.6L13 16h9V7l-3.6 3.6z",
  loupe: "M10 3a7 7 0 1 0 4.2 12.6l5.1 5.1 1.4-1.4-5.1-5.1A7 7 0 0 0 10 3zm0 2a5 5 0 1 1 0 10 5 5 0 0 1 0-10z",
  region: "M3 5v4h2V5h4V3H5a2 2 0 0 0-2 2zm2 10H3v4c0 1.1.9 2 2 2h4v-2H5v-4zm14 4h-4v2h4a2 2 0 0 0 2-2v-4h-2v4zm0-16h-4v2h4v4h2V5a2 2 0 0 0-2-2z",
};

export const STATES = {
  busy: "Computing …",
  preview: "Preview",
  full: "Full size",
  error: "Not current",
};

export class Toolbar {
  /**
   * @param {HTMLElement} bar
   * @param {HTMLElement} state - where the picture's state is written
   * @param {object} act - what each tool does; see `Viewer.tools`
   */
  constructor(bar, state, act) {
    this.act = act;
    const button = (name, label, key, content) =>
      make("button", { type: "button", class: "rt-button", "data-tool": name, title: `${label} (${key})`, "aria-label": label, onclick: () => act[name]() }, [content]);
    this.views = Object.entries(VIEWS).map(([view, label], number) =>
      make("button", { type: "button", class: "rt-button", "data-view": view, title: `${label} (${number + 1})`, text: label, onclick: () => act.view(view) }),
    );
    this.zoom = make("output", { class: "rt-zoom", title: "Screen pixels for each pixel of the film" });
    this.tools = Object.fromEntries(
      [
        ["out", "Zoom out", "−", "−"],
        ["in", "Zoom in", "+", "+"],
        ["fit", "Fit the whole film", "F", "Fit"],
        ["exact", "True pixels: one of the film on one of the screen", "T", "1:1"],
        ["loupe", "Loupe", "L", icon(ICONS.loupe)],
        ["mark", "Measure a region: drag over the film", "M", icon(ICONS.region)],
        ["undo", "Undo", "Z", icon(ICONS.undo)],
        ["redo", "Redo", "Y", icon(ICONS.redo)],
        ["keep", "Keep these settings as B, to compare with", "K", "Keep as B"],
        ["help", "All keys", "?", "?"],
      ].map((tool) => [tool[0], button(...tool)]),
    );
    this.other = make("button", { type: "button", class: "rt-button", "data-tool": "other", title: "Hold to see settings B (B)", text: "Hold: B", disabled: true });
    hold(this.other, act.other);
    this.original = make("button", { type: "button", class: "rt-button", "data-tool": "original", title: "Hold to see the film before (O)", text: "Hold: before" });
    hold(this.original, act.original);
    this.level = this.slider("Level", "level", 0, 255, 0.5);
    this.width = this.slider("Width", "width", 1, 255, 1);
    this.gain = this.slider("Gain", "gain", 1, 20, 1);
    this.state = state;
    const group = (label, ...content) => make("span", { class: "rt-group", role: "group", "aria-label": label }, content);
    const name = make("span", { class: "rt-group-name", text: "Window" });
    this.window = group("Window, for both films alike", name, this.level.row, this.width.row);
    const t = this.tools;
    bar.replaceChildren(
      group("View", ...this.views),
      group("Zoom", t.out, this.zoom, t.in, t.fit, t.exact),
      group("Tools", t.loupe, t.mark, t.help),
      group("Compare", this.original, t.keep, this.other),
      group("History", t.undo, t.redo),
      this.window,
      this.gain.row,
    );
    bar.setAttribute("role", "toolbar");
    bar.setAttribute("aria-label", "Picture");
  }

  slider(label, name, min, max, step) {
    const input = make("input", { type: "range", min, max, step, "data-display": name, "aria-label": label, oninput: () => this.act.display(name, Number(input.value)) });
    unlessScrolled(input, () => Number(input.value), (value) => this.act.display(name, value));
    const value = make("output");
    const title = "For the eye alone: neither the result nor a metric changes. Double click: back to the usual";
    return { row: make("label", { class: "rt-mini", title, ondblclick: () => this.act.display(name, null) }, [label, input, value]), input, value };
  }

  refresh({ view, zoom, loupe, marking, undo, redo, other, window, gain, state, words }) {
    for (const button of this.views) set(button, "aria-pressed", String(button.dataset.view === view));
    say(this.zoom, `${Math.round(zoom * 100)} %`);
    set(this.tools.loupe, "aria-pressed", String(loupe));
    set(this.tools.mark, "aria-pressed", String(marking));
    this.tools.undo.disabled = !undo;
    this.tools.redo.disabled = !redo;
    this.other.disabled = !other;
    for (const [slider, value] of [[this.level, window[0]], [this.width, window[1]], [this.gain, gain]]) {
      if (Number(slider.input.value) !== value) slider.input.value = value;
      say(slider.value, String(Math.round(value)));
    }
    // The window does not act on the difference: so the gain takes its place, and the bar keeps its height.
    this.gain.row.hidden = view !== "difference";
    this.window.hidden = view === "difference";
    say(this.state, words || STATES[state]);
    set(this.state, "data-kind", state);
  }
}

function hold(button, act) {
  let down = false;
  const press = (event) => {
    if (event.button || down) return;
    down = true;
    act(true);
  };
  const release = () => {
    if (down) act(false);
    down = false;
  };
  button.addEventListener("pointerdown", press);
  for (const end of ["pointerup", "pointerleave", "pointercancel", "blur"]) button.addEventListener(end, release);
  button.addEventListener("keydown", (event) => [" ", "Enter"].includes(event.key) && !event.repeat && press(event));
  button.addEventListener("keyup", release);
  button.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch
}

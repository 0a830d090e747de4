// The viewer as Streamlit mounts it: wires controls, pictures and numbers to the loop, and commits settings at rest.

import { keys, tools } from "./actions.js";
import { Controls } from "./controls.js";
import { make, say, set } from "./elements.js";
import { drawHistory, same } from "./history.js";
import { Inspector } from "./inspector.js";
import { keyList, listen } from "./keys.js";
import { USUAL, keep, recall } from "./memory.js";
import { Messages } from "./messages.js";
import { Numbers } from "./numbers.js";
import { follow } from "./pointer.js";
import { Stage } from "./stage.js";
import { Toolbar } from "./toolbar.js";
import { Tuner } from "./tuner.js";

const RELOADED = "After the reload your settings and their history are back.";
const LET_GO = "The server had let this visit go; your settings are kept.";
const COMMIT_MS = 250; // sliders tell of a change with every arrow key
const viewers = new WeakMap();

/** Called by Streamlit at the first mount and at every change of data. */
export default function mount(component) {
  const root = component.parentElement.querySelector(".rt");
  if (!viewers.has(root)) viewers.set(root, new Viewer(root, component.data.visitor, component.data.script));
  const viewer = viewers.get(root);
  viewer.update(component);
  // Streamlit also cleans up after a call that newer data has overtaken: only what has left the page may be closed.
  return () =>
    setTimeout(() => {
      if (root.isConnected || viewers.get(root) !== viewer) return;
      viewer.close();
      viewers.delete(root);
    });
}

class Viewer {
  constructor(root, visitor, script) {
    this.root = root;
    const memory = recall(visitor);
    this.memory = memory;
    this.history = memory.history;
    this.settings = null;
    this.peek = null; // settings shown while B is held
    this.state = "busy";

    const part = (name, tag = "div") => make(tag, { class: `rt-${name}` });
    const [bar, picture, panel, numbers, past, status] = ["bar", "picture", "panel", "numbers", "past", "status"].map((name) => part(name));
    this.canvas = make("canvas", { tabindex: 0, role: "application", "aria-label": "The film before and after. Arrow keys pan, plus and minus zoom, question mark lists all keys." });
    this.labels = [part("label", "span"), part("label", "span")];
    picture.append(this.canvas, ...this.labels);
    this.list = make("ol", {});
    past.append(make("details", { open: true }, [make("summary", { text: "History" }), this.list]));
    const style = make("link", { rel: "stylesheet", href: new URL("viewer.css", new URL(script, location.href)).href });
    this.notice = make("p", { class: "rt-notice", role: "status", title: "Click to hide", onclick: () => say(this.notice, "") });
    const state = part("state", "span");
    const view = make("div", { class: "rt-view" }, [this.notice, bar, picture, make("div", { class: "rt-foot" }, [status, state])]);
    root.replaceChildren(style, make("div", { class: "rt-grid" }, [view, panel, numbers, past]));
    set(root, "data-state", "busy");

    this.stage = new Stage(this.canvas, () => this.moved(), () => this.drawn());
    if (memory.place) this.stage.place = memory.place;
    this.tuner = new Tuner(this.stage, {
      question: () => this.question(),
      painted: (facts) => this.painted(facts),
      state: (state, words) => this.tell(state, words),
      lost: () => this.messages.say({ lost: this.token }),
    });
    const film = () => ({ ...this.data.film, scaled: this.settings["resize.on"] });
    this.inspector = new Inspector(this.stage, this.tuner, status, film);
    this.controls = new Controls(panel, {
      move: (changes) => this.move(changes),
      rest: (how) => this.rest(how),
      reset: () => this.reset(),
    });
    this.numbers = new Numbers(numbers);
    this.stage.show(memory.view);
    this.toolbar = new Toolbar(bar, state, tools(this));
    follow(this.stage, {
      over: (point) => this.inspector.over(point),
      marking: () => this.inspector.marking,
      mark: (region, done) => this.inspector.mark(region, done),
    });
    this.actions = keys(this);
    this.dialog = root.appendChild(keyList(this.actions));
    this.stopListening = listen(this.actions);
    this.messages = new Messages({
      content: () => this.content(),
      notice: (words, instead) => (instead === undefined || this.notice.textContent === instead) && say(this.notice, words),
      wake: () => document.dispatchEvent(new Event("radtune:wake")),
    });
    this.listening = new AbortController();
    const { signal } = this.listening;
    // What is pressed outside must find what is on the screen.
    const flush = (event) => {
      if (root.contains(event.target)) return;
      if (this.peek) this.other(false);
      this.commit();
    };
    const letGo = () => {
      if (this.held) this.rest({ now: true });
      this.held = false;
    };
    for (const event of ["pointerdown", "focusin"]) document.addEventListener(event, flush, { capture: true, signal });
    for (const event of ["pointerup", "pointercancel"]) window.addEventListener(event, letGo, { signal });
    panel.addEventListener("pointerdown", () => (this.held = true));
    this.told = () => this.leaving(true);
    keep(this.told);
  }

  close() {
    this.commit();
    const left = this.leaving(false);
    keep(() => left, this.told);
    this.tuner.close();
    this.stage.close();
    this.stopListening();
    this.messages.close();
    this.listening.abort();
  }

  /** Take over what the server says: another film, other declarations, settings that were replaced there. */
  update(component) {
    this.component = component;
    const { data } = component;
    const before = this.data || {};
    this.data = data;
    const drawn = JSON.stringify([data.steps, data.metrics]);
    if (drawn !== this.drawnFrom) {
      this.drawnFrom = drawn;
      this.controls.build(data.steps, data.defaults);
      this.numbers.build(data.metrics);
    }
    const anew = before.visitor && data.visitor !== before.visitor;
    const replaced = !anew && data.revision !== before.revision;
    const { back } = this.memory;
    if (back || replaced || !this.settings) {
      clearTimeout(this.commitTimer);
      this.settings = (back || data).settings;
      this.peek = null;
      this.history.rest(this.settings);
    }
    this.messages.hear(component);
    // What another session has heard of was no word to it.
    if (!anew && !this.messages.waiting()) this.said = this.before = null;
    // The first message of a visit: until it is heard, nothing can be downloaded.
    if (!data.heard[0] && !before.visitor && !back) this.messages.say();
    // A server that was started anew, or waited too long for this browser, knows nothing of what is on the screen.
    if (back) this.bringBack(back, back.reloaded ? RELOADED : LET_GO);
    // Or again, before it has heard of what was there at first.
    if (anew) this.bringBack({ ...before, source: before.film.source, ...this.before }, LET_GO);
    if (data.token !== this.token) {
      // Not for a film that is about to be replaced by the one that was there before.
      if (!this.messages.wishes.film) this.open(data);
    } else if (replaced || JSON.stringify(data.metrics) !== JSON.stringify(before.metrics)) {
      this.tuner.change();
    }
    if (before.token && (replaced || data.film.id !== before.film.id)) leaveSelector(this.root);
    this.refresh();
  }

  open({ live, header, token, film }) {
    this.token = token;
    this.tuner.connect({ live, header, token });
    if (film.id !== this.film) this.inspector.unmark();
    this.film = film.id;
    this.tuner.change();
  }

  /** Tell a new session what was there before it, and the person what could not come back. */
  bringBack({ source, pristine, here = true }, words) {
    delete this.memory.back;
    this.before = { source, pristine }; // until the server has heard
    const told = [words];
    if (source[0] === "upload") told.push("Uploaded films are gone: upload yours again.");
    if (!pristine) told.push("Choose your preset again for its name and targets.");
    if (this.messages.dropped) told.push("Nothing was downloaded: press again.");
    say(this.notice, told.join(" "));
    // After a reload of another page, a film that was chosen since stays.
    const wanted = (here || this.data.film.unasked) && !same(source, this.data.film.source);
    this.messages.say(wanted ? { film: source } : {});
  }

  /** What a reload would need. */
  leaving(here) {
    const { visitor, film, pristine } = this.data;
    const back = { settings: this.settings, source: film.source, pristine, ...this.before, here };
    return { visitor, memory: this.memory, back };
  }

  /** What every message says. */
  content() {
    this.said = this.settings;
    clearTimeout(this.commitTimer);
    return { visitor: this.data.visitor, revision: this.data.revision, settings: this.settings };
  }

  question() {
    const { window, gain } = this.memory;
    return { settings: this.peek || this.settings, window, gain, region: this.inspector.region };
  }

  move(changes) {
    this.settings = { ...this.settings, ...changes };
    this.peek = null;
    this.tuner.change({ held: this.held });
    this.refresh();
  }

  /** Settings rest: the full picture now; Streamlit hears of them a moment later, or at once where the hand let go. */
  rest({ now = false } = {}) {
    this.history.rest(this.settings);
    if (now) this.tuner.settle();
    clearTimeout(this.commitTimer);
    if (now) this.commit();
    else this.commitTimer = setTimeout(() => this.commit(), COMMIT_MS);
    this.refresh();
  }

  /** Back to the defaults; the server lets go of the preset and its targets. */
  reset() {
    this.move(this.data.defaults);
    this.rest();
    this.messages.say({ reset: true });
  }

  commit() {
    clearTimeout(this.commitTimer);
    if (this.data && !same(this.settings, this.said || this.data.settings)) this.messages.say();
  }

  goTo(settings) {
    if (!settings) return;
    this.move(settings);
    this.rest({ now: true });
  }

  painted(facts) {
    this.pixels = facts.pixels;
    const words = this.peek ? "Settings B, held" : "";
    this.numbers.show(facts, words);
    if (facts.state === "full" && !this.peek) {
      this.history.measured(this.data.film, this.settings, facts);
      drawHistory(this.list, this.history, this.data, this.settings, (settings) => this.goTo(settings));
    }
    set(this.root, "data-sequence", this.tuner.painted);
    set(this.root, "data-settings", facts.settings);
    this.tell(facts.state, "");
    this.inspector.over(this.inspector.point);
  }

  tell(state, words) {
    this.state = state;
    if (state === "busy") this.numbers.wait();
    set(this.root, "data-state", state);
    set(this.root, "data-pixels", state === "full" && this.pixels);
    this.words = words;
    this.refresh();
  }

  refresh() {
    if (!this.data || !this.settings) return;
    const { history, memory, stage } = this;
    this.controls.refresh(this.settings, same(this.settings, this.data.defaults) && this.data.pristine);
    this.toolbar.refresh({
      view: stage.view,
      zoom: stage.zoom(),
      loupe: Boolean(stage.loupe),
      marking: this.inspector.marking,
      undo: history.done.length > 1,
      redo: history.undone.length > 0,
      other: Boolean(history.other),
      window: memory.window,
      gain: memory.gain,
      state: this.state,
      words: this.words,
    });
  }

  /** Place, zoom or view has changed. */
  moved() {
    if (!this.tuner) return;
    this.memory.place = this.stage.place;
    this.tuner.look();
    this.refresh();
  }

  drawn() {
    if (!this.data) return;
    const { stage } = this;
    set(this.root, "data-zoom", stage.zoom().toFixed(4));
    set(this.root, "data-x", (stage.place.x * stage.size[0]).toFixed(1));
    set(this.root, "data-y", (stage.place.y * stage.size[1]).toFixed(1));
    const names = { before: "Before", after: this.peek ? "After, settings B" : "After", difference: "After − before: grey is unchanged" };
    const sides = stage.panes().map(({ side }) => side);
    this.labels.forEach((label, number) => {
      say(label, sides[number] ? names[sides[number]] : "");
      label.classList.toggle("rt-second", number === 1 && stage.view === "swipe");
      label.classList.toggle("rt-half", number === 1 && stage.view === "side");
    });
  }

  show(view) {
    this.memory.view = view;
    this.stage.show(view);
    if (view === "difference" && this.data) this.tuner.change({ display: true });
    this.refresh();
  }

  display(name, value) {
    if (name === "gain") this.memory.gain = value ?? USUAL.gain;
    else {
      const number = name === "level" ? 0 : 1;
      this.memory.window = this.memory.window.with(number, value ?? USUAL.window[number]);
    }
    this.tuner.change({ display: true });
    this.refresh();
  }

  inspect(act) {
    act(this.inspector);
    this.refresh();
  }

  original(on) {
    this.stage.original = on;
    this.stage.invalidate();
  }

  other(on) {
    if (!this.history.other) return;
    this.peek = on ? this.history.other : null;
    this.tuner.change();
    if (!on) this.tuner.settle();
  }

  keep() {
    this.history.other = this.settings;
    this.refresh();
  }

  zoomBy(factor) {
    this.stage.zoomTo(this.stage.zoom() * factor);
  }
}

/** A closed selector that keeps the focus after a choice would take every key for a search in its list. */
function leaveSelector(root) {
  const { activeElement } = document;
  if (!root.contains(activeElement) && activeElement.getAttribute("aria-expanded") === "false") activeElement.blur();
}

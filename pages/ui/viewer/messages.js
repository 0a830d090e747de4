// What is said to Streamlit: each message has a number, which comes back with the data. Until then nothing counts as
// heard, and what got lost is said again.

const AGAIN_MS = 5000;
const PATIENCE = 2; // repetitions, before the whole page is asked for
const SETTLE_MS = 30;
const WORDS_MS = 1000;
const PATIENCE_MS = 30_000;
const WAITING = "Waiting for the server; the download comes then …";
const APP = "[data-testid='stApp']";
const DOWNLOAD = "[data-testid='stDownloadButton'] button";

// Presses that wait; kept here, since a run that is overtaken may put another viewer in the place of the first.
const held = { buttons: [], visitor: "", since: 0 };

export class Messages {
  /**
   * @param {object} about
   * @param {() => object} about.content - what every message says: the settings as they stand
   * @param {(words: string, instead?: string) => void} about.notice - tells the person why a download waits; `instead`
   *   are the words that it replaces, where others would stay
   * @param {() => void} about.wake - has the whole page run: a session that never did knows of no part of it
   */
  constructor(about) {
    this.about = about;
    this.page = Array.from(crypto.getRandomValues(new Uint32Array(3)), (part) => part.toString(36)).join("");
    this.number = 0;
    this.wishes = {};
    this.repeated = 0;
    this.hold = (event) => this.holdBack(event);
    document.addEventListener("click", this.hold, true);
    this.connected = connected();
    this.watch = new MutationObserver(() => this.connection());
    const app = document.querySelector(APP);
    if (app) this.watch.observe(app, { attributeFilter: ["data-test-connection-state"] });
  }

  close() {
    this.watch.disconnect();
    document.removeEventListener("click", this.hold, true);
    clearInterval(this.again);
    for (const timer of [this.words, this.patience, this.passTimer]) clearTimeout(timer);
  }

  /** Say the settings, with what else is wished for; a wish is repeated until it is heard. */
  say(wishes = {}) {
    Object.assign(this.wishes, wishes);
    this.number += 1;
    this.component.setStateValue("commit", { ...this.about.content(), ...this.wishes, page: this.page, number: this.number });
    this.again ??= setInterval(() => this.repeat(), AGAIN_MS);
  }

  repeat() {
    this.repeated += 1;
    // A server that refuses the film and says nothing to this is one that was started anew.
    if (this.repeated > PATIENCE || this.wishes.lost) this.about.wake();
    this.say();
  }

  /**
   * A server that is there again may be another one, which knows of no part of the page.
   *
   * Streamlit itself asks it for a run only where one was under way, or where the last one was of a part.
   */
  connection() {
    const before = this.connected;
    this.connected = connected();
    if (before || !this.connected) return;
    this.about.wake();
    this.say();
  }

  stop() {
    clearInterval(this.again);
    this.again = null;
    this.repeated = 0;
  }

  /** Whether something that was said has not been heard yet. */
  waiting() {
    const [page, number] = this.component.data.heard;
    return this.number > (page === this.page ? number : 0);
  }

  /** Streamlit has answered. */
  hear(component) {
    this.component = component;
    // Pressed in a visit that is over: what the button offers now may be of another film.
    this.dropped = held.buttons.length > 0 && held.visitor !== component.data.visitor;
    if (this.dropped || performance.now() - held.since > PATIENCE_MS) this.release();
    if (held.buttons.length && !this.number) this.say();
    if (this.waiting()) return;
    this.stop();
    this.wishes = {};
    this.pass();
  }

  /**
   * A download is pressed: it waits until Streamlit has heard of all that is on the screen.
   *
   * What else was said to Streamlit, by its own controls, is answered before; a run that still has to end would take
   * away what the button offers.
   */
  holdBack(event) {
    const target = event.target.closest?.(DOWNLOAD);
    if (!target || this.passing) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (!held.buttons.length) Object.assign(held, { visitor: this.component.data.visitor, since: performance.now() });
    if (!held.buttons.includes(target)) held.buttons.push(target);
    this.say();
    clearTimeout(this.words);
    clearTimeout(this.patience);
    this.words = setTimeout(() => this.about.notice(WAITING), WORDS_MS);
    this.patience = setTimeout(() => {
      held.buttons = [];
      this.about.notice("The server has not answered, so nothing was downloaded. Press again once it does.", WAITING);
    }, PATIENCE_MS);
  }

  release() {
    clearTimeout(this.words);
    clearTimeout(this.patience);
    this.about.notice("", WAITING);
    return held.buttons.splice(0);
  }

  pass() {
    if (!held.buttons.length) return;
    // A run may follow at once on the one that answered, and would take away again what the buttons offer.
    if (running()) {
      clearTimeout(this.passTimer);
      this.passTimer = setTimeout(() => this.waiting() || this.pass(), SETTLE_MS);
      return;
    }
    this.passing = true;
    for (const pressed of this.release()) {
      const buttons = [...document.querySelectorAll(DOWNLOAD)];
      const target = pressed.isConnected ? pressed : buttons.find((button) => button.textContent === pressed.textContent);
      target?.click();
    }
    this.passing = false;
  }
}

/** Whether Streamlit says that a script runs. */
function running() {
  return document.querySelector(APP)?.dataset.testScriptState === "running";
}

/** Whether Streamlit says that it has its server. */
function connected() {
  return document.querySelector(APP)?.dataset.testConnectionState === "CONNECTED";
}

// What is said to Streamlit: each message has a number, which comes back with the data. Until then nothing counts as
// heard, and what got lost is said again.

const AGAIN_MS = 5000;
const WORDS_MS = 1000;
const PATIENCE_MS = 30_000;
const DOWNLOAD = "[data-testid='stDownloadButton'] button";

export class Messages {
  /**
   * @param {object} about
   * @param {() => object} about.content - what every message says: the settings as they stand
   * @param {(words: string) => void} about.notice - tells the person why a download waits
   */
  constructor(about) {
    this.about = about;
    this.page = Array.from(crypto.getRandomValues(new Uint32Array(3)), (part) => part.toString(36)).join("");
    this.number = 0;
    this.wishes = {};
    this.heldBack = [];
    this.hold = (event) => this.holdBack(event);
    document.addEventListener("click", this.hold, true);
  }

  close() {
    document.removeEventListener("click", this.hold, true);
    for (const timer of [this.again, this.words, this.patience]) clearTimeout(timer);
  }

  /** Say the settings, with what else is wished for; a wish is repeated until it is heard. */
  say(wishes = {}) {
    Object.assign(this.wishes, wishes);
    this.number += 1;
    this.component.setStateValue("commit", { ...this.about.content(), ...this.wishes, page: this.page, number: this.number });
    clearTimeout(this.again);
    this.again = setTimeout(() => this.waiting() && this.say(), AGAIN_MS);
  }

  /** Whether something that was said has not been heard yet. */
  waiting() {
    const [page, number] = this.component.data.heard;
    return this.number > (page === this.page ? number : 0);
  }

  /** Streamlit has answered. */
  hear(component) {
    this.component = component;
    if (this.waiting()) return;
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
    if (!this.heldBack.includes(target)) this.heldBack.push(target);
    this.say();
    clearTimeout(this.words);
    clearTimeout(this.patience);
    this.words = setTimeout(() => {
      this.told = true;
      this.about.notice("Waiting for the server; the download comes then …");
    }, WORDS_MS);
    this.patience = setTimeout(() => {
      this.heldBack = [];
      this.about.notice("The server has not answered, so nothing was downloaded. Press again once it does.");
    }, PATIENCE_MS);
  }

  pass() {
    if (!this.heldBack.length) return;
    clearTimeout(this.words);
    clearTimeout(this.patience);
    if (this.told) this.about.notice("");
    this.told = false;
    this.passing = true;
    for (const held of this.heldBack.splice(0)) {
      const buttons = [...document.querySelectorAll(DOWNLOAD)];
      const target = held.isConnected ? held : buttons.find((button) => button.textContent === held.textContent);
      target?.click();
    }
    this.passing = false;
  }
}

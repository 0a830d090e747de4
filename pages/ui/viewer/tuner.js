// The loop between hand and picture: previews while it moves, newest wins; the full result as soon as it rests.

import { Latest, Refused, ask, decoded } from "./live.js";

const REST_MS = 90; // after the last key
const PAUSE_MS = 220; // with the button still down
const AGAIN_MS = 150; // after a refusal for the crowd's sake
const DETAIL_MS = 80;
const NUMBERS_MS = 70; // between two previews with metrics

export class Tuner {
  /**
   * @param {Stage} stage
   * @param {object} heard
   * @param {() => object} heard.question - settings, window, gain and region as wanted now
   * @param {(facts: object) => void} heard.painted
   * @param {(state: string, words: string) => void} heard.state
   * @param {() => void} heard.lost - the server does not know the token any more
   */
  constructor(stage, heard) {
    this.stage = stage;
    this.heard = heard;
    this.sequence = 0; // of what is wanted
    this.shown = 0; // of what is on the canvas
    this.painted = 0;
    this.state = "busy";
    this.before = "";
    this.numbersAt = 0;
    this.previews = new Latest((question) => this.preview(question));
    this.details = new Latest((question) => this.detail(question));
    this.loupes = new Latest((question) => this.loupe(question));
    this.aborter = new AbortController();
  }

  close() {
    this.closed = true;
    this.forget();
  }

  /** Ask another engine from now on. */
  connect(server) {
    this.forget();
    this.server = server;
    this.fresh = true;
    this.before = "";
    this.stage.dropDetail("before");
  }

  forget() {
    clearTimeout(this.rest);
    clearTimeout(this.detailTimer);
    for (const latest of [this.previews, this.details, this.loupes]) latest.clear();
    this.aborter.abort();
    this.aborter = new AbortController();
    this.whole = null;
  }

  /**
   * Something else is wanted: show it as soon as may be, and whole once the hand rests.
   *
   * @param {object} [how]
   * @param {boolean} [how.held] - by a hand that still holds a slider
   * @param {boolean} [how.display] - for the eye alone: result and numbers stay
   */
  change({ held = false, display = false } = {}) {
    if (!display && this.state !== "preview") {
      this.state = "busy";
      this.heard.state("busy", "");
    }
    this.sequence += 1;
    this.whole?.abort();
    this.whole = null;
    clearTimeout(this.detailTimer);
    this.stage.dropDetail("after");
    this.stage.dropDetail("difference");
    this.stage.loupeLayers = {};
    this.previews.push(this.question());
    this.restIn(held ? PAUSE_MS : REST_MS);
  }

  /** The hand has let go: the full result at once. */
  settle() {
    if (this.state !== "full" || this.shown !== this.sequence) this.restIn(0);
  }

  restIn(milliseconds) {
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.full(), milliseconds);
  }

  question() {
    return { sequence: this.sequence, sides: this.stage.sides(), have: this.before, ...this.heard.question() };
  }

  async preview(question) {
    const { server } = this;
    const now = performance.now();
    const numbers = now - this.numbersAt > NUMBERS_MS;
    if (numbers) this.numbersAt = now;
    try {
      const answer = await ask(server, "preview", { ...question, have: this.before, numbers }, this.aborter.signal);
      // Not waited for: the next question is on its way while this answer is decoded.
      this.paint(server, answer, () => answer.facts.sequence > this.shown);
    } catch (error) {
      await this.failed(error, server, () => this.previews.push(this.question()));
    }
  }

  async full() {
    const { server } = this;
    const question = this.question();
    this.whole?.abort();
    const whole = (this.whole = new AbortController());
    try {
      const answer = await ask(server, "full", question, whole.signal);
      await this.paint(server, answer, () => question.sequence === this.sequence);
    } catch (error) {
      await this.failed(error, server, () => question.sequence === this.sequence && this.restIn(0));
    }
  }

  async paint(server, { facts, pictures }, wanted) {
    if (server !== this.server || !wanted()) return;
    const bitmaps = await decoded(pictures);
    if (this.closed || server !== this.server || !wanted() || !this.fits(facts)) {
      for (const bitmap of bitmaps) bitmap.close();
      return;
    }
    this.recovered();
    this.shown = Math.max(facts.sequence, this.shown);
    this.stage.resized(facts.size, this.fresh);
    this.fresh = false;
    facts.pictures.forEach(({ side, key }, number) => {
      this.stage.put(side, bitmaps[number]);
      if (key) this.before = key;
    });
    this.state = facts.state;
    this.stage.draw();
    this.painted += 1;
    this.heard.painted(facts);
    if (facts.state === "full") this.look();
  }

  /** Whether an answer fits the picture before that is held; asks again where that one was replaced on its way. */
  fits({ state, before, pictures }) {
    if (pictures.some(({ side }) => side === "before") || [before, before.replace("preview:", "full:")].includes(this.before)) return true;
    this.before = "";
    if (state === "full") this.restIn(0);
    else this.previews.push(this.question());
    return false;
  }

  recovered() {
    if (!this.trouble) return;
    this.trouble = false;
    this.heard.state(this.state, "");
  }

  async failed(error, server, again) {
    if (error.name === "AbortError" || this.closed || server !== this.server) return;
    if (error instanceof Refused) {
      if (error.status === 403) return this.heard.lost();
      if (error.status === 409) return undefined;
      if (error.status !== 429) return this.complain(error.message);
    } else {
      this.complain("The server does not answer. Trying again …");
    }
    await new Promise((resolve) => setTimeout(resolve, error instanceof Refused ? AGAIN_MS : 1000));
    if (!this.closed && server === this.server) again();
    return undefined;
  }

  complain(words) {
    this.trouble = true;
    this.heard.state("error", words);
  }

  /** Once place and zoom rest, show the visible part from the full result, where the whole picture is too coarse. */
  look() {
    clearTimeout(this.detailTimer);
    this.detailTimer = setTimeout(() => {
      if (this.state !== "full" || this.shown !== this.sequence) return;
      const base = this.stage.layers.after?.base;
      const zoom = this.stage.zoom();
      if (!base || base.width >= Math.min(zoom, 1) * this.stage.size[0] * 0.99) return;
      const region = this.stage.visible(this.canvasPixels() > 5e6 ? 0 : 0.2);
      const size = region.slice(2).map((side) => Math.max(Math.round(side * Math.min(zoom, 1)), 1));
      const key = JSON.stringify([region, size, this.shown, this.stage.sides()]);
      if (key !== this.detailKey || !this.stage.layers.after.detail) this.details.push({ region, size, key });
    }, DETAIL_MS);
  }

  canvasPixels() {
    return this.stage.canvas.width * this.stage.canvas.height;
  }

  async detail({ region, size, key }) {
    const found = await this.part(region, size);
    if (!found) return;
    this.detailKey = key;
    for (const { side, bitmap } of found.parts) this.stage.putDetail(side, bitmap, found.region);
  }

  async loupe(region) {
    const found = await this.part(region, region.slice(2));
    if (!found) return;
    for (const { side, bitmap } of found.parts) {
      this.stage.loupeLayers[side]?.bitmap.close();
      this.stage.loupeLayers[side] = { bitmap, region: found.region };
    }
    this.stage.invalidate();
  }

  /** A region of the full result, or null where it is not wanted any more. */
  async part(region, size) {
    const { server, sequence } = this;
    try {
      const { facts, pictures } = await ask(server, "part", { ...this.question(), have: "", region, size }, this.aborter.signal);
      const bitmaps = await decoded(pictures);
      if (server !== this.server || sequence !== this.sequence || this.state !== "full") {
        for (const bitmap of bitmaps) bitmap.close();
        return null;
      }
      this.recovered();
      return { region: facts.region, parts: facts.pictures.map(({ side }, number) => ({ side, bitmap: bitmaps[number] })) };
    } catch (error) {
      await this.failed(error, server, () => this.look());
      return null;
    }
  }
}

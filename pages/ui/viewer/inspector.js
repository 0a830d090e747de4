// A closer look: the grey value under the pointer, the loupe, and a region that is measured apart.

import { say } from "./elements.js";
import { Latest, ask } from "./live.js";

const LEAST_SIDE = 8; // pixels of a region sized by keys
const PAN = 60; // CSS pixels for each press

export class Inspector {
  /**
   * @param {Stage} stage
   * @param {Tuner} tuner
   * @param {HTMLElement} status - where the grey value is written
   * @param {() => object} film - the film's bits, white and spacing, and whether the result was scaled
   */
  constructor(stage, tuner, status, film) {
    this.stage = stage;
    this.tuner = tuner;
    this.status = status;
    this.film = film;
    this.region = null; // that is measured: x, y, width, height in pixels of the result
    this.marking = false;
    this.point = null;
    this.values = new Latest((point) => this.value(point));
  }

  /** Show a region while it is drawn; measure it once it is done. */
  mark(region, done) {
    this.stage.region = region;
    this.stage.invalidate();
    if (done) {
      this.region = region;
      this.tuner.change({ display: true });
    }
  }

  unmark() {
    this.marking = false;
    this.region = null;
    this.mark(null, false);
  }

  toggleMark() {
    if (this.marking) {
      this.unmark();
      this.tuner.change({ display: true });
      return;
    }
    this.marking = true;
    const [x, y, width, height] = this.stage.visible(0);
    const third = (length) => Math.max(Math.round(length / 3), 1);
    this.mark([x + third(width), y + third(height), third(width), third(height)], true);
  }

  /** Move the region by keys, or size it. */
  moveMark(dx, dy, grow) {
    if (!this.region) return;
    const [width, height] = this.stage.size;
    const step = Math.max(Math.round(Math.min(width, height) / 50), 1);
    const within = (value, least, most) => Math.min(Math.max(value, least), most);
    let [x, y, w, h] = this.region;
    if (grow) [w, h] = [within(w + dx * step, LEAST_SIDE, width - x), within(h + dy * step, LEAST_SIDE, height - y)];
    else [x, y] = [within(x + dx * step, 0, width - w), within(y + dy * step, 0, height - h)];
    this.mark([x, y, w, h], true);
  }

  toggleLoupe() {
    const { stage } = this;
    const pane = stage.panes()[0];
    stage.loupe = stage.loupe ? null : { x: pane.x + pane.width / 2, y: stage.canvas.height / 2 };
    stage.loupeLayers = {};
    if (stage.loupe) this.tuner.loupes.push(stage.loupeRegion());
    stage.invalidate();
  }

  /** The pointer is over a pixel of the film, or has left it. */
  over(point) {
    const [width, height] = this.stage.size;
    const outside = !point || point[0] < 0 || point[1] < 0 || point[0] >= width || point[1] >= height;
    this.point = outside ? null : point;
    if (outside) {
      say(this.status, `${width} x ${height} px, ${this.film().bits} bit`);
      return;
    }
    this.values.push(point.map(Math.floor));
    if (this.stage.loupe && this.tuner.state === "full") this.tuner.loupes.push(this.stage.loupeRegion());
    this.stage.invalidate();
  }

  async value([x, y]) {
    const { server } = this.tuner;
    try {
      const { facts } = await ask(server, "value", { ...this.tuner.question(), region: [x, y, 1, 1], sides: [] });
      if (!this.point || server !== this.tuner.server) return;
      const { spacing, white, scaled } = this.film();
      const place = spacing && !scaled ? ` · ${(x * spacing[1]).toFixed(1)}, ${(y * spacing[0]).toFixed(1)} mm` : "";
      const about = facts.state === "full" ? "" : " (preview)";
      say(this.status, `x ${x}, y ${y} px${place} · grey value ${facts.before} → ${facts.after} of ${white}${about}`);
    } catch {
      // The pictures say so where the server is gone.
    }
  }

  /** Pan by keys, and tell of the pixel in the middle. */
  panBy(dx, dy) {
    const { stage } = this;
    stage.pan(dx * PAN * stage.density, dy * PAN * stage.density);
    this.over([stage.place.x * stage.size[0], stage.place.y * stage.size[1]]);
  }
}

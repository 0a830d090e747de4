// The pictures: where they are, how large, and how before and after share the canvas.

import { drawDivider, drawLoupe, drawRegion } from "./overlays.js";

const MOST_ZOOM = 32;
const LOUPE_RADIUS = 90;
const FLICKER_MS = 600;
const ALIKE = 4; // films that differ by less in width and height share their place

export const VIEWS = {
  single: "Single",
  side: "Side by side",
  swipe: "Swipe",
  flicker: "Flicker",
  difference: "Difference",
};

/** Draws the layers `before`, `after` and `difference` on a canvas, all at one place and zoom. */
export class Stage {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {() => void} moved - called after place, zoom or view has changed
   * @param {() => void} drawn - called after each drawing
   */
  constructor(canvas, moved, drawn) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.moved = moved;
    this.drawn = drawn;
    this.size = [1, 1]; // of the full result, in its pixels
    this.layers = {};
    this.view = "swipe";
    this.divider = 0.5;
    // The centre as a share of the film, so that another film keeps it; zoom is null while the whole film fits.
    this.place = { x: 0.5, y: 0.5, zoom: null };
    this.original = false; // held: show the film before
    this.region = null;
    this.loupe = null; // {x, y} in device pixels of the canvas
    this.loupeLayers = {};
    this.flipped = false;
    this.observer = new ResizeObserver(([entry]) => this.resize(entry.devicePixelContentBoxSize?.[0]));
    try {
      // In device pixels, as the browser lays them out: any other size would be scaled on its way to the screen.
      this.observer.observe(canvas, { box: "device-pixel-content-box" });
    } catch {
      this.observer.observe(canvas); // Safari
    }
    this.resize();
  }

  close() {
    this.observer.disconnect();
    clearInterval(this.flicker);
    cancelAnimationFrame(this.frame);
  }

  resize(exact) {
    this.density = window.devicePixelRatio || 1;
    const box = this.canvas.getBoundingClientRect();
    // Where a dense screen is only emulated, the exact size is that of another screen.
    const near = exact && Math.abs(exact.inlineSize - box.width * this.density) < 1.5;
    const width = Math.max(near ? exact.inlineSize : Math.round(box.width * this.density), 1);
    const height = Math.max(near ? exact.blockSize : Math.round(box.height * this.density), 1);
    if (width !== this.canvas.width || height !== this.canvas.height) {
      this.canvas.width = width;
      this.canvas.height = height;
      this.draw(); // at once: a resized canvas is blank
      this.moved();
    }
  }

  show(view) {
    this.view = view;
    clearInterval(this.flicker);
    this.flipped = false;
    if (view === "flicker") {
      this.flicker = setInterval(() => {
        this.flipped = !this.flipped;
        this.invalidate();
      }, FLICKER_MS);
    }
    this.invalidate();
    this.moved();
  }

  /** Sides that the view needs, and those that a key may show at any moment. */
  sides() {
    return this.view === "difference" ? ["before", "after", "difference"] : ["before", "after"];
  }

  panes() {
    const { width, height } = this.canvas;
    const gap = Math.round(2 * this.density);
    if (this.original) return [{ x: 0, width, side: "before" }];
    if (this.view === "side") {
      const half = Math.floor((width - gap) / 2);
      return [
        { x: 0, width: half, side: "before" },
        { x: width - half, width: half, side: "after" },
      ];
    }
    if (this.view === "swipe") {
      const cut = Math.round(width * this.divider);
      return [
        { x: 0, width, side: "before", clip: [0, cut] },
        { x: 0, width, side: "after", clip: [cut, width] },
      ];
    }
    const side = this.view === "difference" ? "difference" : this.flipped ? "before" : "after";
    return [{ x: 0, width, height, side }];
  }

  fitting() {
    const [width, height] = this.size;
    return Math.min(this.panes()[0].width / width, this.canvas.height / height);
  }

  /** Screen pixels for each pixel of the film. */
  zoom() {
    return this.place.zoom === null ? this.fitting() : this.place.zoom;
  }

  /** Left upper corner of the film in a pane; whole pixels of the screen where they show the film's one by one. */
  corner(pane, whole = this.zoom() >= 1) {
    const zoom = this.zoom();
    const x = pane.x + pane.width / 2 - this.place.x * this.size[0] * zoom;
    const y = this.canvas.height / 2 - this.place.y * this.size[1] * zoom;
    return whole ? [Math.round(x), Math.round(y)] : [x, y];
  }

  paneAt(x) {
    const panes = this.panes();
    return panes.find((pane) => (pane.clip ? x >= pane.clip[0] && x < pane.clip[1] : x >= pane.x && x < pane.x + pane.width)) || panes[0];
  }

  /** The film's pixel under a point of the canvas (device pixels); may lie outside the film. */
  pixelAt(x, y) {
    const [left, top] = this.corner(this.paneAt(x));
    return [(x - left) / this.zoom(), (y - top) / this.zoom()];
  }

  zoomTo(zoom, x = null, y = null) {
    const panes = this.panes();
    const pane = x === null ? panes[0] : this.paneAt(x);
    const at = x === null ? [pane.x + pane.width / 2, this.canvas.height / 2] : [x, y];
    const [left, top] = this.corner(pane, false); // rounded, many small steps would drift
    const [px, py] = [(at[0] - left) / this.zoom(), (at[1] - top) / this.zoom()];
    const least = Math.min(this.fitting(), 1) / 2;
    this.place.zoom = Math.min(Math.max(zoom, least), Math.max(MOST_ZOOM, this.fitting()));
    this.centreOn(
      px - (at[0] - pane.x - pane.width / 2) / this.place.zoom,
      py - (at[1] - this.canvas.height / 2) / this.place.zoom,
    );
  }

  fit() {
    this.place = { x: 0.5, y: 0.5, zoom: null };
    this.invalidate();
    this.moved();
  }

  centreOn(px, py) {
    this.place.x = Math.min(Math.max(px / this.size[0], 0), 1);
    this.place.y = Math.min(Math.max(py / this.size[1], 0), 1);
    this.invalidate();
    this.moved();
  }

  pan(dx, dy) {
    const zoom = this.zoom();
    if (this.place.zoom === null) this.place.zoom = zoom;
    this.centreOn(this.place.x * this.size[0] - dx / zoom, this.place.y * this.size[1] - dy / zoom);
  }

  /** The part of the film that is on the screen, with a margin on each side, in whole pixels. */
  visible(margin) {
    const zoom = this.zoom();
    const { width } = this.panes()[0];
    const [w, h] = [(width / zoom) * (1 + margin), (this.canvas.height / zoom) * (1 + margin)];
    const left = Math.max(Math.floor(this.place.x * this.size[0] - w / 2), 0);
    const top = Math.max(Math.floor(this.place.y * this.size[1] - h / 2), 0);
    const right = Math.min(Math.ceil(this.place.x * this.size[0] + w / 2), this.size[0]);
    const bottom = Math.min(Math.ceil(this.place.y * this.size[1] + h / 2), this.size[1]);
    return [left, top, Math.max(right - left, 1), Math.max(bottom - top, 1)];
  }

  /** The result has another size: the same part stays in view for another film, and where it was scaled. */
  resized(size, another) {
    if (another) this.lookAway(size);
    const grown = size[0] / this.size[0];
    const scaled = grown > 1.5 || grown < 1 / 1.5; // cropping goes in smaller steps, and leaves a pixel its size
    if ((another || scaled) && this.place.zoom !== null && this.place.zoom !== 1 && this.size[0] > 1) {
      this.place.zoom = Math.min(this.place.zoom / grown, MOST_ZOOM);
    }
    this.size = size;
  }

  /** A film of quite another size is shown whole; the place waits for the next one that is like those before. */
  lookAway(size) {
    const alike = (other) => size.every((side, axis) => side < ALIKE * other[axis] && other[axis] < ALIKE * side);
    if (this.away && (this.place.zoom !== null || alike(this.away.size))) {
      if (this.place.zoom === null) [this.place, this.size] = [this.away.place, this.away.size];
      this.away = null;
    } else if (!this.away && this.place.zoom !== null && this.size[0] > 1 && !alike(this.size)) {
      this.away = { place: this.place, size: this.size };
      this.fit();
    }
  }

  put(side, bitmap) {
    this.layers[side]?.base.close();
    this.layers[side]?.detail?.bitmap.close();
    this.layers[side] = { base: bitmap, detail: null };
    this.invalidate();
  }

  putDetail(side, bitmap, region) {
    const layer = this.layers[side];
    if (!layer) return bitmap.close();
    layer.detail?.bitmap.close();
    layer.detail = { bitmap, region };
    this.invalidate();
  }

  dropDetail(side) {
    this.layers[side]?.detail?.bitmap.close();
    if (this.layers[side]) this.layers[side].detail = null;
  }

  invalidate() {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const { context, canvas } = this;
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    for (const pane of this.panes()) {
      const [from, to] = pane.clip || [pane.x, pane.x + pane.width];
      context.save();
      context.beginPath();
      context.rect(from, 0, to - from, canvas.height);
      context.clip();
      this.drawLayer(this.layers[pane.side], this.corner(pane), this.zoom());
      if (this.region) drawRegion(this, this.corner(pane));
      context.restore();
    }
    if (this.view === "swipe" && !this.original) drawDivider(this);
    if (this.loupe) drawLoupe(this);
    this.drawn();
  }

  drawLayer(layer, [x, y], zoom) {
    if (!layer) return;
    const { context } = this;
    const [width, height] = this.size;
    // Pixels are shown as they are where each covers the same number of the screen's.
    context.imageSmoothingEnabled = zoom < 2 && zoom !== 1;
    context.imageSmoothingQuality = "high";
    if (layer.base.width < width) context.imageSmoothingEnabled = true;
    context.drawImage(layer.base, x, y, width * zoom, height * zoom);
    if (layer.detail) {
      const [left, top, w, h] = layer.detail.region;
      context.imageSmoothingEnabled = zoom < 2 && zoom !== 1;
      context.drawImage(layer.detail.bitmap, x + left * zoom, y + top * zoom, w * zoom, h * zoom);
    }
  }

  loupeZoom() {
    return Math.max(2 * this.zoom(), 2 * this.density);
  }

  /** In device pixels; smaller where the picture is small. */
  loupeRadius() {
    return Math.min(LOUPE_RADIUS * this.density, 0.3 * this.panes()[0].width, 0.3 * this.canvas.height);
  }

  /** The part of the film under the loupe. */
  loupeRegion() {
    const [px, py] = this.pixelAt(this.loupe.x, this.loupe.y);
    const reach = Math.ceil(this.loupeRadius() / this.loupeZoom()) + 1;
    const left = Math.max(Math.floor(px) - reach, 0);
    const top = Math.max(Math.floor(py) - reach, 0);
    return [left, top, Math.max(Math.min(2 * reach, this.size[0] - left), 1), Math.max(Math.min(2 * reach, this.size[1] - top), 1)];
  }
}

// Metrics, verdict and histograms. Values come as text from the server, so that page, log and report write them alike.

import { make, say, set } from "./elements.js";

const BINS = 64; // stretching leaves gaps between the 256 levels, which would show as a comb
const LITTLE = 0.0005; // share of pixels at an end that is not worth a mark
const WIDTH = 384;
const HEIGHT = 130;

export class Numbers {
  constructor(panel) {
    this.logarithmic = false;
    this.verdict = make("p", { class: "rt-verdict" });
    this.spoken = make("p", { class: "rt-unseen", role: "status" });
    this.warning = make("p", { class: "rt-warning", hidden: true });
    this.body = make("tbody");
    this.kind = make("caption");
    this.regionHeads = ["Region before", "after"].map((text) => make("th", { text, hidden: true, scope: "col" }));
    const heads = ["Metric", "Before", "After"].map((text) => make("th", { text, scope: "col" }));
    const table = make("table", { class: "rt-metrics" }, [
      this.kind,
      make("thead", {}, [make("tr", {}, [...heads, ...this.regionHeads, make("th", { text: "Target", scope: "col" })])]),
      this.body,
    ]);
    this.drawing = make("svg:svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "Histograms", preserveAspectRatio: "none" });
    this.switch = make("input", { type: "checkbox", "data-log": "", onchange: () => this.setLogarithmic(this.switch.checked) });
    this.ends = make("p", { class: "rt-ends" });
    panel.replaceChildren(
      make("div", { class: "rt-judged" }, [this.warning, this.verdict, this.spoken, table]),
      make("figure", { class: "rt-histogram" }, [
        make("figcaption", {}, [
          make("span", {}, ["Histograms ", make("i", { class: "rt-ink-before", text: "■ before" }), " ", make("i", { class: "rt-ink-after", text: "▬ after" })]),
          make("label", { title: "Key H" }, [this.switch, " log scale"]),
        ]),
        this.drawing,
        make("p", { class: "rt-axis" }, [make("span", { text: "0 black" }), make("span", { text: "white 255" })]),
        this.ends,
      ]),
    );
  }

  build(metrics) {
    this.cells = {};
    this.body.replaceChildren(
      ...metrics.map(({ name, label, help, band }) => {
        const cell = (side, region) => make("td", { [region ? "data-region-metric" : "data-metric"]: name, "data-side": side, hidden: region });
        const cells = [cell("before"), cell("after"), cell("before", true), cell("after", true)];
        this.cells[name] = cells;
        return make("tr", {}, [make("th", { scope: "row", text: label, title: help }), ...cells, make("td", { class: "rt-band", text: band })]);
      }),
    );
  }

  /** Show what an answer says; `words` names what it is about where that is not the settings as they stand. */
  show(facts, words = "") {
    if (!facts.rows) return;
    const full = facts.state === "full";
    say(this.kind, words || (full ? "Measured at full size" : "Measured on the preview, full size follows"));
    this.body.classList.toggle("rt-provisional", !full);
    for (const row of facts.rows) {
      const [before, after] = this.cells[row.metric];
      say(before, row.before);
      say(after, row.after);
      set(after, "class", row.judged ? (row.missed ? "rt-bad" : "rt-fine") : false);
    }
    const apart = [...this.regionHeads, ...Object.values(this.cells).flatMap((cells) => cells.slice(2))];
    for (const cell of apart) cell.hidden = !facts.region_rows;
    for (const row of facts.region_rows || []) {
      const [, , before, after] = this.cells[row.metric];
      say(before, row.before);
      say(after, row.after);
    }
    say(this.verdict, facts.verdict.sentence);
    set(this.verdict, "data-verdict", facts.verdict.good ? "good" : "off");
    if (full) say(this.spoken, facts.verdict.sentence);
    say(this.warning, facts.warning);
    this.warning.hidden = !facts.warning;
    this.histograms = facts.histograms;
    [this.black, this.white] = facts.ends;
    this.draw();
  }

  /** The numbers are of what was: others are on their way. */
  wait() {
    say(this.kind, "Computing …");
    this.body.classList.add("rt-provisional");
  }

  setLogarithmic(on) {
    this.logarithmic = on;
    this.switch.checked = on;
    this.draw();
  }

  draw() {
    if (!this.histograms) return;
    const { before, after } = this.histograms;
    const [filled, line] = [before, after].map(folded);
    const all = [...filled.slice(1, -1), ...line.slice(1, -1)].sort((a, b) => a - b);
    // One bin often towers over the rest (a black border): on the linear scale it is cut at the top.
    const top = this.logarithmic ? Math.max(...filled, ...line) : 1.15 * all[Math.floor(all.length * 0.98)] || Math.max(...filled, ...line);
    const height = (count) => {
      const share = this.logarithmic ? Math.log1p(count) / Math.log1p(top) : count / top;
      return (HEIGHT * (1 - Math.min(share || 0, 1))).toFixed(1);
    };
    const stairs = (counts) => counts.map((count, bin) => `${(bin * WIDTH) / BINS},${height(count)} ${((bin + 1) * WIDTH) / BINS},${height(count)}`).join(" ");
    const marks = [this.black > LITTLE && 0, this.white > LITTLE && WIDTH - 4].filter((x) => x !== false);
    this.drawing.replaceChildren(
      make("svg:polygon", { points: `0,${HEIGHT} ${stairs(filled)} ${WIDTH},${HEIGHT}`, class: "rt-fill-before" }),
      make("svg:polyline", { points: stairs(line), class: "rt-line-after" }),
      ...marks.map((x) => make("svg:rect", { x, y: 0, width: 4, height: HEIGHT, class: "rt-clipped" })),
    );
    const percent = (share) => `${(100 * share).toFixed(1)} %`;
    say(this.ends, `After: ${percent(this.black)} pure black, ${percent(this.white)} pure white`);
  }
}

function folded(counts) {
  const step = counts.length / BINS;
  return Array.from({ length: BINS }, (_, bin) => counts.slice(bin * step, (bin + 1) * step).reduce((sum, count) => sum + count, 0));
}

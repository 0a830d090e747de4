// Runs inside the pages that live.py opens. A slider goes from stop to stop, there and back: every move is a change.

window.bench = {
  ways: {},
  root: () => document.querySelector(".rt"),
  slider: (path) => document.querySelector(`[type=range][data-setting="${path}"]`),
  frame: () => new Promise((resolve) => requestAnimationFrame(resolve)),
  sleep: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
  until: (node, done) => new Promise((resolve) => {
    if (done()) return resolve();
    const observer = new MutationObserver(() => {
      if (!done()) return;
      observer.disconnect();
      resolve();
    });
    observer.observe(node, { attributes: true });
  }),
  hold: (path) => bench.slider(path).dispatchEvent(new PointerEvent("pointerdown", { bubbles: true })),
  release: () => window.dispatchEvent(new PointerEvent("pointerup")),
  whole: () => bench.root().dataset.state === "full" && Boolean(bench.root().dataset.pixels),
  stop(path, to = null) {
    const slider = bench.slider(path);
    const [low, step] = [Number(slider.min), Number(slider.step)];
    const stops = Math.round((Number(slider.max) - low) / step);
    const at = Math.round((Number(slider.value) - low) / step);
    if (at + (bench.ways[path] ??= 1) > stops) bench.ways[path] = -1;
    if (at + bench.ways[path] < 0) bench.ways[path] = 1;
    return [low + step * (to === null ? at + bench.ways[path] : to % stops), stops];
  },
  move(path, to = null) {
    const slider = bench.slider(path);
    slider.value = bench.stop(path, to)[0].toFixed(6);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    return Number(slider.value);
  },
  async painted(path) {
    const root = bench.root();
    const sequence = Number(root.dataset.sequence);
    const start = performance.now();
    bench.move(path);
    await bench.until(root, () => Number(root.dataset.sequence) > sequence);
    await bench.frame();
    return performance.now() - start;
  },
  async oneAfterAnother(path, count) {
    const times = [];
    bench.hold(path);
    for (let number = 0; number < count; number += 1) times.push(await bench.painted(path));
    bench.release();
    await bench.until(bench.root(), bench.whole);
    return times;
  },
  async toFull(path) {
    bench.hold(path);
    for (let number = 0; number < 3; number += 1) await bench.painted(path);
    const start = performance.now();
    bench.release();
    await bench.until(bench.root(), bench.whole);
    return performance.now() - start;
  },
  watch(path) {
    const root = bench.root();
    const seen = { moves: [], paints: [] };
    const moved = () => seen.moves.push([performance.now(), Number(bench.slider(path).value)]);
    bench.slider(path).addEventListener("input", moved);
    const observer = new MutationObserver(() => seen.paints.push([performance.now(), root.dataset.settings]));
    observer.observe(root, { attributeFilter: ["data-sequence"] });
    seen.end = () => {
      observer.disconnect();
      bench.slider(path).removeEventListener("input", moved);
      return { moves: seen.moves, paints: seen.paints };
    };
    return seen;
  },
  async steady([path, count, gap, from, start]) {
    const seen = bench.watch(path);
    await bench.sleep(start - Date.now());
    bench.hold(path);
    const first = performance.now();
    for (let number = 0; number < count; number += 1) {
      await bench.sleep(first + number * gap - performance.now());
      bench.move(path, number ? null : from);
    }
    await bench.sleep(gap);
    bench.release();
    await bench.until(bench.root(), bench.whole);
    const { pixels, settings } = bench.root().dataset;
    return { ...seen.end(), pixels, settings, value: Number(bench.slider(path).value) };
  },
  // The naive page: from the key until the script has ended and what it sent is on the screen.
  rerun(same) {
    const app = document.querySelector("[data-testid=stApp]");
    const after = () => document.querySelectorAll("[data-testid=stImage] img")[1];
    const metric = () => document.querySelector("[data-testid=stMetricValue]").textContent;
    const [picture, number] = [after().src, metric()];
    let ran = false;
    let start = 0;
    window.addEventListener("keydown", () => (start = performance.now()), { capture: true, once: true });
    const observer = new MutationObserver(() => (ran ||= app.dataset.testScriptState === "running"));
    observer.observe(app, { attributes: true });
    bench.reran = new Promise((resolve) => {
      const look = () => {
        const loaded = after().complete && after().naturalWidth > 0;
        const changed = same || (after().src !== picture && metric() !== number);
        if (!(ran && app.dataset.testScriptState === "notRunning" && loaded && changed)) return setTimeout(look, 1);
        observer.disconnect();
        return resolve(performance.now() - start);
      };
      look();
    });
  },
  first: new Promise((resolve) => {
    const look = () => {
      const films = [...document.querySelectorAll("[data-testid=stImage] img")].slice(0, 2);
      const loaded = films.length === 2 && films.every((film) => film.complete && film.naturalWidth > 0);
      if (loaded || document.querySelector(".rt[data-sequence]")) {
        requestAnimationFrame(() => resolve(performance.now()));
      } else setTimeout(look, 1);
    };
    look();
  }),
};

// What can be done to the pictures: by the bar, and by the keyboard.

import { VIEWS } from "./stage.js";

/** What the bar's tools do. */
export function tools(viewer) {
  return {
    view: (view) => viewer.show(view),
    in: () => viewer.zoomBy(1.25),
    out: () => viewer.zoomBy(0.8),
    fit: () => viewer.stage.fit(),
    exact: () => viewer.stage.zoomTo(1),
    loupe: () => viewer.inspect((inspector) => inspector.toggleLoupe()),
    mark: () => viewer.inspect((inspector) => inspector.toggleMark()),
    undo: () => {
      viewer.history.rest(viewer.settings); // also from the middle of a drag
      viewer.goTo(viewer.history.step(true));
    },
    redo: () => viewer.goTo(viewer.history.step(false)),
    keep: () => viewer.keep(),
    other: (on) => viewer.other(on),
    original: (on) => viewer.original(on),
    display: (name, value) => viewer.display(name, value),
    help: () => viewer.dialog.showModal(),
  };
}

/** What the keys do. Plain R and C belong to Streamlit. */
export function keys(viewer) {
  const act = tools(viewer);
  const { canvas } = viewer;
  const arrows = [["ArrowLeft", -1, 0], ["ArrowRight", 1, 0], ["ArrowUp", 0, -1], ["ArrowDown", 0, 1]];
  const cut = (by) => {
    viewer.stage.divider = Math.min(Math.max(viewer.stage.divider + by, 0), 1);
    viewer.stage.invalidate();
  };
  const part = (by) => viewer.display("level", Math.min(Math.max(viewer.memory.window[0] + by, 0), 255));
  const wide = (by) => viewer.display("width", Math.min(Math.max(viewer.memory.window[1] + by, 1), 255));
  return [
    ...Object.entries(VIEWS).map(([view, label], number) => ({ keys: [String(number + 1)], words: label, act: () => act.view(view) })),
    { keys: ["o"], words: "Hold: the film before", act: () => act.original(true), release: () => act.original(false) },
    { keys: ["k"], words: "Keep these settings as B", act: act.keep },
    { keys: ["b"], words: "Hold: settings B", act: () => act.other(true), release: () => act.other(false) },
    { keys: ["z", "Ctrl+z"], words: "Undo", act: act.undo },
    { keys: ["y", "Ctrl+y"], words: "Redo", act: act.redo },
    { keys: ["+", "="], words: "Zoom in and out", act: act.in },
    { keys: ["-"], words: "Zoom in and out", act: act.out },
    { keys: ["f", "0"], words: "Fit the whole film", act: act.fit },
    { keys: ["t"], words: "True pixels, 1:1", act: act.exact },
    ...arrows.map(([key, dx, dy]) => ({ keys: [key], words: "On the film: pan, with the grey value in the middle", on: canvas, act: () => viewer.inspector.panBy(-dx, -dy) })),
    { keys: [","], words: "Swipe line left and right", act: () => cut(-0.05) },
    { keys: ["."], words: "Swipe line left and right", act: () => cut(0.05) },
    { keys: ["l"], words: "Loupe", act: act.loupe },
    { keys: ["m"], words: "Measure a region", act: act.mark },
    ...arrows.map(([key, dx, dy]) => ({ keys: [`Shift+${key}`], words: "On the film: move the region", on: canvas, act: () => viewer.inspector.moveMark(dx, dy, false) })),
    ...arrows.map(([key, dx, dy]) => ({ keys: [`Ctrl+${key}`], words: "On the film: size of the region", on: canvas, act: () => viewer.inspector.moveMark(dx, dy, true) })),
    { keys: ["["], words: "Window level, darker and brighter", act: () => part(5) },
    { keys: ["]"], words: "Window level, darker and brighter", act: () => part(-5) },
    { keys: ["n"], words: "Window width, narrower and wider", act: () => wide(-10) },
    { keys: ["w"], words: "Window width, narrower and wider", act: () => wide(10) },
    { keys: ["x"], words: "Usual window", act: () => { viewer.display("level", null); viewer.display("width", null); } },
    { keys: ["g"], words: "Gain of the difference, up to 20 and back to 1", act: () => viewer.display("gain", viewer.memory.gain >= 20 ? 1 : viewer.memory.gain + 3) },
    { keys: ["h"], words: "Histograms on a log scale", act: () => viewer.numbers.setLogarithmic(!viewer.numbers.logarithmic) },
    { keys: ["?"], words: "This list", act: act.help },
  ];
}

// The keyboard: every action by a key, and the list of them behind "?". Plain R and C belong to Streamlit.

import { make } from "./elements.js";

const IN_WORDS = {
  ArrowLeft: "←",
  ArrowRight: "→",
  ArrowUp: "↑",
  ArrowDown: "↓",
};

/**
 * Listen to the keyboard for as long as the viewer is there.
 *
 * @param {Array<{keys: string[], words: string, act: Function, release?: Function, on?: HTMLElement}>} actions - `on`
 *   keeps a key to the times when that element has the focus
 * @returns {() => void} stops listening
 */
export function listen(actions) {
  const held = new Map();
  const press = (event) => {
    if (event.defaultPrevented || event.altKey || typing(event.target)) return;
    const name = (event.ctrlKey || event.metaKey ? "Ctrl+" : "") + (event.shiftKey && event.key.length > 1 ? "Shift+" : "") + lower(event);
    const action = actions.find(({ keys, on }) => keys.includes(name) && (!on || on === document.activeElement));
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    if (action.release) {
      if (!held.has(event.code)) {
        held.set(event.code, action);
        action.act();
      }
    } else action.act(event);
  };
  const release = (event) => {
    held.get(event.code)?.release();
    held.delete(event.code);
  };
  const releaseAll = () => {
    for (const action of held.values()) action.release();
    held.clear();
  };
  document.addEventListener("keydown", press, true);
  document.addEventListener("keyup", release, true);
  window.addEventListener("blur", releaseAll);
  return () => {
    document.removeEventListener("keydown", press, true);
    document.removeEventListener("keyup", release, true);
    window.removeEventListener("blur", releaseAll);
  };
}

function lower(event) {
  return event.key.length === 1 ? event.key.toLowerCase() : event.key;
}

function typing(target) {
  if (target.isContentEditable) return true;
  const field = target.closest?.("input, textarea, [role=combobox], [role=dialog], dialog");
  return Boolean(field) && !["range", "checkbox", "radio"].includes(field.type);
}

/** The list of keys, as a dialog; actions with the same words share a line. */
export function keyList(actions) {
  const lines = new Map();
  for (const { keys, words } of actions) lines.set(words, [...(lines.get(words) || []), keys[0]]);
  const fixed = [
    [["Wheel, pinch"], "Zoom where it points; drag to pan"],
    [["Double click"], "On a setting's name: back to its default; on the film: fit, or 1:1"],
    [["← →"], "On a slider: one step; Page up and Page down: several"],
  ];
  const rows = [...fixed, ...[...lines].map(([words, keys]) => [keys, words])].map(([keys, words]) =>
    make("div", {}, [make("dt", {}, keys.map((key) => make("kbd", { text: written(key) }))), make("dd", { text: words })]),
  );
  const outside = (event) => event.target === event.currentTarget && event.target.close();
  return make("dialog", { class: "rt-keys", "aria-label": "Keys", onclick: outside }, [
    make("h2", { text: "Mouse, fingers and keys", tabindex: -1, autofocus: "" }),
    make("dl", {}, rows),
    make("form", { method: "dialog" }, [make("button", { class: "rt-button", text: "Close" })]),
  ]);
}

function written(key) {
  const parts = key.split(/\+(?=.)/); // "+" alone is a key
  return parts.map((part) => IN_WORDS[part] || (part.length === 1 ? part.toUpperCase() : part)).join(" ");
}

// Elements, made briefly. Text is always set as text: nothing that a file or a preset says is ever read as markup.

/**
 * Make an element.
 *
 * @param {string} tag
 * @param {object} [attributes] - "on..." are listeners, "text" is its text, the rest are attributes; false leaves one out
 * @param {Array<Node|string>} [children]
 */
export function make(tag, attributes = {}, children = []) {
  const space = tag.startsWith("svg:") ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const element = document.createElementNS(space, tag.replace("svg:", ""));
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else set(element, name, value);
  }
  element.append(...children);
  return element;
}

/** Set an attribute where it differs, or leave it out for false: a browser lays out again for one that is set, changed or not. */
export function set(element, name, value) {
  if (value === false || value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

/** Set an element's text where it differs. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A small drawing for a button, from the path of a 24 x 24 icon. */
export function icon(path) {
  return make("svg:svg", { viewBox: "0 0 24 24", "aria-hidden": "true", class: "rt-icon" }, [make("svg:path", { d: path })]);
}

/**
 * Let a slider keep its value where a finger that came down on it goes on to scroll the page.
 *
 * @param {HTMLInputElement} slider
 * @param {() => number} value - the value before
 * @param {(value: number) => void} back - takes the value back
 */
export function unlessScrolled(slider, value, back) {
  let before;
  slider.addEventListener("pointerdown", () => (before = value()));
  slider.addEventListener("pointercancel", () => back(before));
}

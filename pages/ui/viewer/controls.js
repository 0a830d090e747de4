// The tuning controls, drawn from the declarations of the steps.

import { make, say, set, unlessScrolled } from "./elements.js";

/** A switch for each step and, where it is on, its parameters. */
export class Controls {
  /**
   * @param {HTMLElement} panel
   * @param {object} heard
   * @param {(changes: object) => void} heard.move - settings that move, by path
   * @param {({now: boolean}) => void} heard.rest - the hand rests; `now` where no other move will follow at once
   * @param {() => void} heard.reset - all settings and targets are wanted back
   */
  constructor(panel, heard) {
    this.panel = panel;
    this.heard = heard;
    this.values = {};
    this.parts = [];
  }

  /** Draw controls for the declared steps. */
  build(steps, defaults) {
    this.defaults = defaults;
    this.parts = [];
    this.help = make("p", { class: "rt-help", "aria-hidden": "true" });
    this.resetAll = make("button", { type: "button", class: "rt-button", text: "Reset all", onclick: () => this.heard.reset() });
    this.panel.replaceChildren(
      make("div", { class: "rt-controls-head" }, [make("h2", { text: "Settings" }), this.resetAll]),
      make("div", { class: "rt-steps" }, steps.map((step) => this.step(step))),
      this.help,
    );
    const tell = (event) => say(this.help, event.target.closest("[data-help]")?.dataset.help || "Point at a setting to read what it does.");
    tell({ target: this.panel });
    this.panel.onfocusin = tell;
    this.panel.onpointerover = tell;
  }

  step(step) {
    const paths = [...(step.switch ? [step.switch] : []), ...step.parameters.map((parameter) => parameter.path)];
    const reset = make("button", {
      type: "button",
      class: "rt-reset",
      text: "↺",
      title: `Back to the defaults of ${step.label}`,
      "aria-label": `Back to the defaults of ${step.label}`,
      "data-reset": step.name,
      onclick: () => this.toDefaults(paths),
    });
    const name = make("span", { text: step.label, ondblclick: () => this.toDefaults(paths) });
    let head = name;
    let toggle = null;
    if (step.switch) {
      toggle = make("input", {
        type: "checkbox",
        role: "switch",
        "data-setting": step.switch,
        onchange: () => {
          this.heard.move({ [step.switch]: toggle.checked });
          this.heard.rest({ now: true });
        },
      });
      // A label would switch twice on the double click that resets.
      toggle.setAttribute("aria-label", step.label);
      name.addEventListener("click", (event) => event.detail === 1 && toggle.click());
      head = make("span", { class: "rt-switch" }, [toggle, name]);
    }
    const body = make("div", { class: "rt-parameters" }, step.parameters.map((parameter) => this.parameter(parameter)));
    this.parts.push({
      refresh: (values) => {
        if (toggle) toggle.checked = values[step.switch];
        body.hidden = step.switch ? !values[step.switch] : false;
        reset.disabled = paths.every((path) => values[path] === this.defaults[path]);
      },
    });
    return make("section", { class: "rt-step", "data-step": step.name, "aria-label": step.label }, [
      make("div", { class: "rt-step-head", "data-help": step.help, title: step.help }, [head, reset]),
      body,
    ]);
  }

  parameter(parameter) {
    const { path } = parameter;
    const id = `rt-${path.replace(".", "-")}`;
    const unit = parameter.unit ? ` (${parameter.unit})` : "";
    const name = make("label", {
      for: id,
      id: `${id}-label`,
      text: parameter.label + unit,
      title: "Double click: back to the default",
      ondblclick: () => this.toDefaults([path]),
    });
    const { row, refresh } = parameter.options ? this.choice(parameter, id, name) : this.range(parameter, id, name);
    row.dataset.help = parameter.help;
    this.parts.push({
      refresh: (values) => {
        row.hidden = parameter.needs ? values[parameter.needs[0]] !== parameter.needs[1] : false;
        refresh(values[path]);
      },
    });
    return row;
  }

  choice({ path, options, help }, id, name) {
    const select = make(
      "select",
      {
        id,
        "data-setting": path,
        "aria-description": help,
        onchange: () => {
          this.heard.move({ [path]: select.value });
          this.heard.rest({ now: true });
        },
      },
      Object.entries(options).map(([value, label]) => make("option", { value, text: label })),
    );
    const refresh = (value) => {
      if (select.value !== value) select.value = value;
    };
    return { row: make("div", { class: "rt-row" }, [name, select]), refresh };
  }

  range(parameter, id, name) {
    const { path, low, high, step, decimals, whole, good } = parameter;
    const shown = (value) => (Number(value.toFixed(decimals)) === value ? value.toFixed(decimals) : String(value));
    const badge = make("span", { class: "rt-good", text: good ? `good ${parameter.good_text}` : "" });
    const slider = make("input", {
      type: "range",
      id,
      min: low,
      max: high,
      step,
      "data-setting": path,
      "aria-description": `${parameter.help} ${badge.textContent}`,
      oninput: () => this.heard.move({ [path]: Number(slider.value) }),
      onchange: () => this.heard.rest({}),
    });
    unlessScrolled(slider, () => this.values[path], (value) => {
      this.heard.move({ [path]: value });
      this.heard.rest({ now: true });
    });
    if (good) {
      const at = (value) => `${(100 * (value - low)) / (high - low)}%`;
      slider.style.setProperty("--from", at(good[0]));
      slider.style.setProperty("--to", at(good[1]));
      slider.classList.add("rt-has-good");
    }
    const field = make("input", {
      type: "number",
      min: low,
      max: high,
      step: "any",
      "data-number": path,
      "aria-label": `${parameter.label}, as a number`,
      onchange: () => {
        const typed = field.valueAsNumber;
        const value = Number.isFinite(typed) ? Math.min(Math.max(typed, low), high) : this.values[path];
        this.heard.move({ [path]: whole ? Math.round(value) : value });
        this.heard.rest({ now: true });
        refresh(this.values[path]);
      },
      onkeydown: (event) => event.key === "Enter" && field.blur(),
    });
    const refresh = (value) => {
      if (Number(slider.value) !== value) slider.value = value; // rounds to a stop for the eye alone
      if (document.activeElement !== field) field.value = shown(value);
      set(slider, "aria-valuetext", shown(value) + (parameter.unit ? ` ${parameter.unit}` : ""));
      const off = Boolean(good) && (value < good[0] || value > good[1]);
      badge.classList.toggle("rt-off", off);
      if (good) say(badge, `${off ? "outside" : "good"} ${parameter.good_text}`);
    };
    const head = make("div", { class: "rt-row-head" }, [name, badge, field]);
    return { row: make("div", { class: "rt-row rt-range" }, [head, slider]), refresh };
  }

  toDefaults(paths) {
    this.heard.move(Object.fromEntries(paths.map((path) => [path, this.defaults[path]])));
    this.heard.rest({ now: true });
  }

  /** Show settings. */
  refresh(values, pristine) {
    this.values = values;
    for (const part of this.parts) part.refresh(values);
    this.resetAll.disabled = pristine;
  }
}

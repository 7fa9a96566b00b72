// @ts-check
/** What is shown, in the address: #/market/paper-h100, #/console, so that it can be linked to. */

import { Topic } from "./observe.js";

/** The views in their order: name, title. */
export const VIEWS = /** @type {const} */ ([
  ["market", "Market"],
  ["console", "Console"],
  ["jobs", "Jobs"],
  ["workers", "Workers"],
  ["account", "Account"],
  ["operator", "Operator"],
]);

export class Route {
  constructor() {
    this.topic = new Topic();
    this.view = "market";
    /** Name of the chosen instrument; empty for the first. */
    this.instrument = "";
  }

  start() {
    addEventListener("hashchange", () => this.#read());
    this.#read();
  }

  /** @param {string} view */
  show(view) {
    location.hash = view === "market" ? this.#marketHash() : `#/${view}`;
  }

  /** @param {string} instrument */
  choose(instrument) {
    this.instrument = instrument;
    if (this.view === "market") history.replaceState(null, "", this.#marketHash());
    this.topic.touch();
  }

  #marketHash() {
    return this.instrument ? `#/market/${encodeURIComponent(this.instrument)}` : "#/market";
  }

  #read() {
    const [, view = "", rest = ""] = /^#\/([a-z]*)(?:\/(.*))?$/.exec(location.hash) ?? [];
    this.view = VIEWS.some(([name]) => name === view) ? view : "market";
    if (rest) this.instrument = decodeURIComponent(rest);
    this.topic.touch();
  }
}

// @ts-check
import { element, setAttribute, setText } from "./dom.js";
import { flops, integer, plural } from "./format.js";

/** @typedef {import("./store.js").Overview} Overview */

/** Name, value, unit and what stands below it. @type {[string, (o: Overview) => [string, string, string]][]} */
const COUNTERS = [
  ["Jobs running", (o) => [integer(o.jobs.leased), "", `${integer(o.jobs.queued)} waiting in the book`]],
  ["Jobs settled", (o) => [integer(o.jobs.settled), "", `${integer(o.jobs.unsettled)} ended otherwise`]],
  ["Compute settled", (o) => [...split(flops(o.flops_settled)), "metered and paid"]],
  [
    "Slots in use",
    (o) => [
      integer(o.workers_total.slots_in_use),
      `of ${integer(o.workers_total.slots)}`,
      `${plural(o.workers_total.present, "worker", "workers")} present`,
    ],
  ],
  [
    "Ledger sum",
    (o) => [
      integer(o.ledger_sum_nanos),
      "nano$",
      Number(o.ledger_sum_nanos) === 0 ? "✓ balanced over all accounts" : "✕ does not balance",
    ],
  ],
  ["Journal", (o) => [integer(o.journal_records), "records", `${plural(o.orders_open, "order", "orders")} open`]],
];

export class Counters {
  /** @param {HTMLElement} list */
  constructor(list) {
    this.tiles = COUNTERS.map(([name]) => {
      const value = element("span", { class: "value" });
      const unit = element("span", { class: "value-unit" });
      const about = element("dd", { class: "about" });
      const tile = element("div", { class: "counter" }, element("dt", {}, name), element("dd", {}, value, unit), about);
      list.append(tile);
      return { tile, value, unit, about };
    });
  }

  /** @param {Overview} overview */
  render(overview) {
    COUNTERS.forEach(([, read], i) => {
      const [value, unit, about] = read(overview);
      const shown = this.tiles[i];
      setText(shown.value, value);
      setText(shown.unit, unit);
      setText(shown.about, about);
      setAttribute(shown.tile, "data-alarm", about.startsWith("✕") ? "true" : null);
    });
  }
}

/**
 * @param {string} text a number and its unit
 * @returns {[string, string]}
 */
function split(text) {
  const [value, unit] = text.split(" ");
  return [value, unit];
}

// @ts-check
import { KeyedList, element, setAttribute, setText } from "./dom.js";
import { flops, integer, plural } from "./format.js";

/** @typedef {import("./store.js").Worker} Worker */
/** @typedef {import("./store.js").Overview} Overview */

/** More slots than this are drawn as a bar instead of one mark each. */
const MARKS_MAX = 16;
const HEADS = ["Worker", "State", "Slots in use", "Leases settled", "Leases failed", "Compute settled"];
const SIGNS = { ready: "●", paused: "‖", draining: "↓", lost: "✕", away: "◌" };

export class Workers {
  /**
   * @param {HTMLElement} panel
   * @param {HTMLElement} about
   */
  constructor(panel, about) {
    this.about = about;
    const body = element("tbody");
    const row = element("tr", {}, ...HEADS.map((name) => element("th", { scope: "col" }, name)));
    this.table = element("table", { class: "fleet" }, element("thead", {}, row), body);
    this.empty = element("p", { class: "empty" }, "No workers yet. One dials in with: flopex worker run");
    panel.append(this.empty, this.table);
    this.rows = new KeyedList(
      body,
      (/** @type {Worker} */ worker) => String(worker.worker_id),
      create,
      update,
    );
  }

  /** @param {Overview} overview */
  render(overview) {
    const { present, slots } = overview.workers_total;
    const { workers } = overview;
    setText(this.about, `${integer(present)} present · ${plural(slots, "slot", "slots")}`);
    setAttribute(this.empty, "hidden", workers.length ? "" : null);
    setAttribute(this.table, "hidden", workers.length ? null : "");
    this.rows.render(workers);
  }
}

/** @param {Worker} worker */
function create(worker) {
  const cells = HEADS.slice(1).map((name) => element("td", { "data-label": name }));
  cells[0].append(element("span", { class: "state" }));
  cells[1].append(element("span", { class: "slots", "aria-hidden": "true" }), element("span"));
  return element("tr", {}, element("th", { scope: "row" }, worker.name), ...cells);
}

/**
 * @param {HTMLElement} row
 * @param {Worker} worker
 */
function update(row, worker) {
  const [, state, slots, settled, failed, compute] = row.children;
  const present = worker.state === "ready" || worker.state === "paused" || worker.state === "draining";
  const word = present && !worker.connected ? "away" : worker.state;
  const label = /** @type {Element} */ (state.firstElementChild);
  setAttribute(label, "data-state", word);
  setText(label, `${SIGNS[/** @type {"ready"} */ (word)] ?? ""} ${word}`);
  const all = sum(worker.slots);
  const used = sum(worker.slots_in_use);
  marks(/** @type {HTMLElement} */ (slots.firstElementChild), used, all);
  setText(/** @type {Element} */ (slots.lastElementChild), `${integer(used)} of ${integer(all)}`);
  setText(settled, integer(worker.leases_settled));
  setText(failed, integer(worker.leases_failed));
  setText(compute, flops(worker.flops_settled));
}

/**
 * @param {HTMLElement} holder
 * @param {number} used
 * @param {number} all
 */
function marks(holder, used, all) {
  const bar = all > MARKS_MAX;
  holder.classList.toggle("bar", bar);
  const count = bar ? 0 : all;
  while (holder.children.length > count) holder.lastElementChild?.remove();
  while (holder.children.length < count) holder.append(element("i"));
  if (bar) holder.style.setProperty("--used", `${(used / all) * 100}%`);
  else [...holder.children].forEach((mark, i) => mark.classList.toggle("used", i < used));
}

/** @param {number[]} values */
function sum(values) {
  return values.reduce((a, b) => a + b, 0);
}

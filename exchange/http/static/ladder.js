// @ts-check
import { element, flash, setAttribute, setText } from "./dom.js";
import { column, integer, percent } from "./format.js";
import { cumulated } from "./store.js";

/** @typedef {import("./store.js").Instrument} Instrument */
/** @typedef {ReturnType<typeof cumulated>[number]} Line */

const LEVELS = 10;
const COLUMNS = ["Price, nano$/CU", "Quantity", "Cumulative", "Orders"];

/** The order book: asks above, bids below, the best of both in the middle. */
export class Ladder {
  /** @param {HTMLElement} panel */
  constructor(panel) {
    this.title = element("h2", { id: "ladder-title" }, "Order book");
    this.about = element("p", { class: "unit" });
    this.asks = side("ask");
    this.bids = side("bid");
    this.middle = element(
      "div",
      { class: "middle" },
      element("strong", { class: "middle-last" }),
      element("span", { class: "middle-about" }),
    );
    this.heads = COLUMNS.map((name) => element("span", { role: "columnheader" }, name));
    const table = element(
      "div",
      { class: "book", role: "table", "aria-labelledby": "ladder-title" },
      element("div", { role: "rowgroup" }, element("div", { class: "line head", role: "row" }, ...this.heads)),
      this.asks.group,
      element("div", { role: "rowgroup" }, element("div", { role: "row" }, cell(this.middle))),
      this.bids.group,
    );
    this.empty = element("p", { class: "empty", hidden: "" }, "No instrument to show yet.");
    this.table = table;
    this.shown = "";
    panel.append(element("div", { class: "panel-head" }, this.title, this.about), this.empty, table);
  }

  /** @param {Instrument | null} instrument */
  render(instrument) {
    setAttribute(this.empty, "hidden", instrument ? "" : null);
    setAttribute(this.table, "hidden", instrument ? null : "");
    if (instrument === null) return;
    const batch = instrument.mode === "batch";
    setText(this.title, instrument.name);
    setText(this.about, batch ? "batch, clears every 10 ms" : "continuous, price-time");
    const asks = cumulated(instrument.asks);
    const bids = cumulated(instrument.bids);
    // In a batch book bids are jobs and asks are slots: each side has a scale of its own.
    const both = Math.max(total(asks), total(bids));
    const fresh = this.shown !== instrument.name;
    this.shown = instrument.name;
    const unit = batch ? { name: "", format: integer } : column(both);
    setText(this.heads[1], unit.name ? `Quantity, ${unit.name}` : "Quantity");
    const quantity = unit.format;
    draw(this.asks, asks, batch ? total(asks) : both, quantity, batch ? "free slots" : "", fresh);
    draw(this.bids, bids, batch ? total(bids) : both, quantity, batch ? "waiting jobs" : "", fresh);
    this.#middle(instrument, bids[0]?.price ?? 0, asks[0]?.price ?? 0, batch);
  }

  /**
   * @param {Instrument} instrument
   * @param {number} bid
   * @param {number} ask
   * @param {boolean} batch
   */
  #middle(instrument, bid, ask, batch) {
    const [last, about] = this.middle.children;
    const price = instrument.last_price_nanos;
    if (setText(last, price ? integer(price) : "no trade yet")) flash(last);
    let text = "one side is empty";
    if (instrument.state !== "open") text = `‖ trading is ${instrument.state}`;
    else if (bid && ask && ask > bid) {
      text = `spread ${integer(ask - bid)} (${percent((ask - bid) / ask)})`;
    } else if (bid && ask) text = batch ? "crossed: waits for the next batch" : "crossed";
    else if (!bid && !ask) text = "the book is empty";
    setText(about, price ? `last, nano$/CU · ${text}` : text);
  }
}

/** @param {"bid" | "ask"} kind */
function side(kind) {
  const label = kind === "ask" ? "▼ Asks" : "▲ Bids";
  const unit = element("span", { class: "side-unit" });
  const title = element("div", { class: "side-title", role: "row" }, cell(element("span", {}, label), unit));
  const lines = Array.from({ length: LEVELS }, () =>
    element("div", { class: "line", role: "row" }, ...COLUMNS.map(() => cell())),
  );
  // Asks are drawn from the dearest down to the best.
  const drawn = kind === "ask" ? [...lines].reverse() : lines;
  const group = element("div", { class: `side ${kind}`, role: "rowgroup" }, title, ...drawn);
  return { group, lines, unit };
}

/** @param {...Node} children */
function cell(...children) {
  return element("span", { role: "cell" }, ...children);
}

/** @param {Line[]} levels */
function total(levels) {
  return Number(levels.at(-1)?.sum ?? 0n);
}

/**
 * @param {{lines: HTMLElement[], unit: HTMLElement}} half
 * @param {Line[]} levels
 * @param {number} scale quantity of a bar over the whole width
 * @param {(quantity: any) => string} quantity
 * @param {string} unit
 * @param {boolean} fresh whether another book was shown before
 */
function draw(half, levels, scale, quantity, unit, fresh) {
  setText(half.unit, unit);
  half.lines.forEach((line, i) => {
    const level = levels[i];
    const texts = level
      ? [integer(level.price), quantity(level.quantity), quantity(level.sum), integer(level.orders)]
      : ["", "", "", ""];
    const changed = texts.map((text, column) => setText(line.children[column], text));
    if (changed[1] && level && !fresh) flash(line.children[1]);
    const share = (/** @type {Number | BigInt | string} */ part) =>
      level && scale ? `${((Number(part) / scale) * 100).toFixed(1)}%` : "0%";
    line.style.setProperty("--level", share(level?.quantity ?? 0));
    line.style.setProperty("--sum", share(level?.sum ?? 0));
    setAttribute(line, "aria-hidden", level ? null : "true");
  });
}

// @ts-check
import { KeyedList, element, setAttribute } from "./dom.js";
import { integer, mflop, timeOfDay } from "./format.js";

/** @typedef {import("./store.js").SeenTrade} SeenTrade */
/** @typedef {import("./store.js").Store} Store */

const ROWS = 60;
const MOVES = { "-1": ["down", "▼", "lower than the trade before"], 1: ["up", "▲", "higher than the trade before"] };
const TAKERS = { bid: "▲ bid", ask: "▼ ask", none: "batch" };

/** The tape: newest first. */
export class Trades {
  /**
   * @param {HTMLElement} panel
   * @param {Store} store
   */
  constructor(panel, store) {
    this.store = store;
    this.panel = panel;
    const body = element("tbody");
    const heads = ["Time", "Instrument", "Price, nano$/CU", "Quantity", "Taker"];
    const row = element("tr", {}, ...heads.map((name) => element("th", { scope: "col" }, name)));
    this.table = element("table", { class: "tape" }, element("thead", {}, row), body);
    this.empty = element("p", { class: "empty" }, "No trades yet: one appears when a bid meets an ask.");
    panel.append(this.empty, this.table);
    this.rows = new KeyedList(
      body,
      (/** @type {SeenTrade} */ trade) => trade.key,
      (trade) => this.#create(trade),
      () => {},
    );
  }

  render() {
    const chosen = this.store.instrument;
    const all = this.store.allTrades;
    const trades = chosen ? this.store.newest(all ? null : chosen.instrument_id, ROWS) : [];
    setAttribute(this.panel, "data-scope", all ? "all" : "one");
    setAttribute(this.empty, "hidden", trades.length ? "" : null);
    setAttribute(this.table, "hidden", trades.length ? null : "");
    this.rows.render(trades);
  }

  /** @param {SeenTrade} trade */
  #create(trade) {
    const found = this.store.overview?.instruments.find((i) => i.instrument_id === trade.instrument_id);
    const [kind, arrow, spoken] = MOVES[/** @type {1} */ (trade.move)] ?? ["same", "", ""];
    const sign = element("span", { class: "arrow" }, arrow);
    if (spoken) {
      sign.setAttribute("role", "img");
      sign.setAttribute("aria-label", spoken);
    }
    const [clock, milliseconds] = timeOfDay(trade.event_time_ns);
    const taker = TAKERS[/** @type {"bid"} */ (trade.taker_side)];
    const name = found?.name ?? `#${trade.instrument_id}`;
    return element(
      "tr",
      {},
      element("td", { class: "time" }, clock, element("span", { class: "milliseconds" }, milliseconds)),
      element("td", { class: "which", title: name }, name),
      element("td", { class: `price ${kind}` }, integer(trade.price_nanos), sign),
      element("td", {}, mflop(trade.quantity_mflop)),
      element("td", { class: `taker ${trade.taker_side}` }, taker),
    );
  }
}

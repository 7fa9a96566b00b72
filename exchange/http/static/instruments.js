// @ts-check
import { KeyedList, element, setAttribute, setText } from "./dom.js";
import { integer, percent } from "./format.js";

/** @typedef {import("./store.js").Instrument} Instrument */
/** @typedef {import("./store.js").Store} Store */

const SVG = "http://www.w3.org/2000/svg";
const SPARK_POINTS = 40;
const SPARK_WIDTH = 64;
const SPARK_HEIGHT = 24;

/** The instruments as buttons; arrow keys move between them. */
export class Instruments {
  /**
   * @param {HTMLElement} list
   * @param {Store} store
   * @param {(name: string) => void} choose
   */
  constructor(list, store, choose) {
    this.list = list;
    this.store = store;
    this.rows = new KeyedList(
      list,
      (/** @type {Instrument} */ instrument) => String(instrument.instrument_id),
      (instrument) => this.#create(instrument, choose),
      (node, instrument) => this.#update(node, instrument),
    );
    list.addEventListener("keydown", (event) => this.#move(event));
  }

  render() {
    const overview = this.store.overview;
    if (overview === null) return;
    this.rows.render(overview.instruments);
    const more = overview.instruments_total - overview.instruments.length;
    let note = this.list.nextElementSibling;
    if (note === null) this.list.after((note = element("p", { class: "empty" })));
    let text = more > 0 ? `and ${integer(more)} more` : "";
    if (overview.instruments_total === 0) text = "No instruments yet. The operator enters them.";
    setText(note, text);
    setAttribute(note, "hidden", text ? null : "");
  }

  /**
   * @param {Instrument} instrument
   * @param {(name: string) => void} choose
   */
  #create(instrument, choose) {
    const [head, ...rest] = instrument.name.split("/");
    const spark = document.createElementNS(SVG, "svg");
    spark.setAttribute("class", "spark");
    spark.setAttribute("viewBox", `0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}`);
    spark.setAttribute("aria-hidden", "true");
    spark.append(document.createElementNS(SVG, "polyline"));
    const button = element(
      "button",
      { type: "button", class: "instrument" },
      element("span", { class: "instrument-model" }, head),
      element("span", { class: "instrument-price" }),
      element("span", { class: "instrument-class" }, rest.join(" / ")),
      element("span", { class: "instrument-about" }),
      spark,
    );
    button.addEventListener("click", () => choose(instrument.name));
    return element("li", {}, button);
  }

  /**
   * @param {HTMLElement} row
   * @param {Instrument} instrument
   */
  #update(row, instrument) {
    const button = /** @type {HTMLElement} */ (row.firstElementChild);
    const chosen = this.store.instrument?.instrument_id === instrument.instrument_id;
    setAttribute(button, "aria-current", chosen ? "true" : null);
    const [, price, , about, spark] = button.children;
    const last = instrument.last_price_nanos;
    setText(price, last ? integer(last) : "–");
    setText(about, summary(instrument));
    const line = /** @type {Element} */ (spark.firstElementChild);
    setAttribute(line, "points", this.#points(instrument.instrument_id));
  }

  /** @param {number} instrumentId */
  #points(instrumentId) {
    const prices = this.store
      .newest(instrumentId, SPARK_POINTS)
      .reverse()
      .map((trade) => trade.price_nanos);
    if (prices.length < 2) return "";
    const low = Math.min(...prices);
    const span = Math.max(...prices) - low;
    const step = SPARK_WIDTH / (prices.length - 1);
    const y = (/** @type {number} */ price) =>
      span ? SPARK_HEIGHT - 2 - ((price - low) / span) * (SPARK_HEIGHT - 4) : SPARK_HEIGHT / 2;
    return prices.map((price, i) => `${(i * step).toFixed(1)},${y(price).toFixed(1)}`).join(" ");
  }

  /** @param {KeyboardEvent} event */
  #move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    const buttons = [...this.list.querySelectorAll("button")];
    const at = buttons.indexOf(/** @type {any} */ (document.activeElement));
    const next = buttons[at + step];
    if (at < 0 || next === undefined) return;
    event.preventDefault();
    next.focus();
    next.click();
  }
}

/** @param {Instrument} instrument */
function summary(instrument) {
  const parts = [instrument.settlement === "paper" ? "paper" : instrument.mode];
  if (instrument.state !== "open") parts.push(`‖ ${instrument.state}`);
  const bid = Number(instrument.bids[0]?.[0] ?? 0);
  const ask = Number(instrument.asks[0]?.[0] ?? 0);
  if (bid && ask && ask > bid) parts.push(`spread ${percent((ask - bid) / ask)}`);
  return parts.join(" · ");
}

// @ts-check
/** The book of the instrument that is looked at: streamed where one is signed in, else of the overview. */

import { Topic } from "./observe.js";
import { Stream } from "./stream.js";

/** @typedef {import("./store.js").Instrument} Instrument */
/** @typedef {import("./store.js").Level} Level */
/** @typedef {{price_nanos: string, volume_mflop: string, imbalance_mflop: string, end_time_ns: string}} Auction */
/**
 * @typedef {object} LiveBook
 * @property {number} instrument_id
 * @property {string} name
 * @property {string} state
 * @property {string} mode
 * @property {string} settlement
 * @property {Level[]} bids best first
 * @property {Level[]} asks best first
 * @property {number} last_price_nanos
 * @property {number} move which way the last price went
 * @property {Auction | null} auction
 * @property {boolean} live whether each change is streamed
 */

export class Market {
  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.store = store;
    this.topic = new Topic();
    this.name = "";
    /** @type {Stream | null} */
    this.stream = null;
    /** Made when somebody looks: a thousand changes a second are one book a frame. @type {LiveBook | null} */
    this.shown = null;
    this.stale = true;
  }

  /** The book now; null before anything is known. */
  get book() {
    if (this.stale) {
      this.shown = this.#make();
      this.stale = false;
    }
    return this.shown;
  }

  /** Stream with this key; empty: with none. @param {string} key */
  signIn(key) {
    if (key === (this.stream?.key ?? "")) return;
    this.stream?.stop();
    this.stream = key ? new Stream(key, () => this.#changed(), (trades) => this.#traded(trades)) : null;
    this.#follow();
  }

  /** Look at this instrument; empty: at the first. @param {string} name */
  choose(name) {
    this.name = name;
    this.#follow();
  }

  /** There is a newer overview. */
  heard() {
    this.#follow();
  }

  #follow() {
    const instrument = this.store.instrument(this.name);
    if (instrument !== null) this.stream?.follow(instrument.name);
    this.#changed();
  }

  /** @param {import("./store.js").Trade[]} trades */
  #traded(trades) {
    this.store.takeTrades(trades);
    this.#changed();
  }

  #changed() {
    this.stale = true;
    this.topic.touch();
  }

  /** @returns {LiveBook | null} */
  #make() {
    const instrument = this.store.instrument(this.name);
    if (instrument === null) return null;
    const move = this.store.newest(instrument.instrument_id, 1)[0]?.move ?? 0;
    const { stream } = this;
    if (!stream?.whole || stream.instrument !== instrument.name) return { ...instrument, move, auction: null, live: false };
    const { book } = stream;
    return {
      ...instrument,
      bids: book.bids.map(levelOf),
      asks: book.asks.map(levelOf),
      last_price_nanos: Number(book.lastPrice),
      state: book.state.replace("TRADING_STATE_", "").toLowerCase(),
      auction: /** @type {any} */ (book.auction),
      move,
      live: true,
    };
  }
}

/** @param {import("./book.js").Level} level @returns {Level} */
function levelOf({ price, quantity, orders }) {
  return [Number(price), String(quantity), orders];
}

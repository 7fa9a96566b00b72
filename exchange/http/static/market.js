// @ts-check
/** The book and the trades of the instrument that is looked at: from the overview, or from the market's stream. */

import { Topic } from "./observe.js";

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
    /** @type {LiveBook | null} */
    this.book = null;
    this.name = "";
  }

  /** Look at this instrument. @param {string} name */
  follow(name) {
    this.name = name;
    this.fromOverview();
  }

  /** There is a newer overview. */
  fromOverview() {
    const instrument = this.store.instrument(this.name);
    this.book = instrument && this.#ofOverview(instrument);
    this.topic.touch();
  }

  /** @param {Instrument} instrument @returns {LiveBook} */
  #ofOverview(instrument) {
    const move = this.store.newest(instrument.instrument_id, 1)[0]?.move ?? 0;
    return { ...instrument, move, auction: null, live: false };
  }
}

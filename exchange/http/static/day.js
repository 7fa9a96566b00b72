// @ts-check
/** What was traded of each instrument in the last 24 hours, and its hourly index: asked for once a minute. */

import { Topic } from "./observe.js";

const AGAIN_MS = 60_000;
/** Before the first overview there are no names to ask about. */
const FIRST_MS = 500;
const HOURS = 24;
const HOUR_S = 3600;
/** Instruments that are asked about. */
const INSTRUMENTS_MAX = 20;

/**
 * @typedef {object} Day
 * @property {bigint} volume_mflop
 * @property {number | null} open_nanos first price of the 24 hours
 * @property {number | null} index_nanos index of the last hour that has one
 */

export class Days {
  /**
   * @param {import("./api.js").Api} api
   * @param {import("./store.js").Store} store
   */
  constructor(api, store) {
    this.api = api;
    this.store = store;
    this.topic = new Topic();
    /** By instrument's name. @type {Map<string, Day>} */
    this.found = new Map();
    /** @type {number | undefined} */
    this.timer = undefined;
  }

  /** Begin to ask, or forget. @param {boolean} signedIn */
  ask(signedIn) {
    if (signedIn && this.timer === undefined) {
      this.timer = setInterval(() => this.#all(), AGAIN_MS);
      this.#all();
    } else if (!signedIn && this.timer !== undefined) {
      clearInterval(this.timer);
      this.timer = undefined;
      this.found.clear();
      this.topic.touch();
    }
  }

  async #all() {
    if (document.hidden) return;
    const instruments = this.store.overview?.instruments ?? [];
    if (!instruments.length) {
      setTimeout(() => this.timer !== undefined && this.#all(), FIRST_MS);
      return;
    }
    for (const { name } of instruments.slice(0, INSTRUMENTS_MAX)) {
      if (this.timer === undefined) return;
      try {
        this.found.set(name, await this.#one(name));
      } catch {
        // The connection's own state says what is wrong; the next minute asks again.
        return;
      }
    }
    this.topic.touch();
  }

  /** @param {string} instrument @returns {Promise<Day>} */
  async #one(instrument) {
    const since = BigInt(Date.now() - HOURS * HOUR_S * 1000) * 1_000_000n;
    const [{ candles = [] }, { hours = [] }] = await Promise.all([
      this.api.get("/v1/candles", { instrument, width_s: HOUR_S, start_time_ns: since, page_size: HOURS + 1 }),
      this.api.get("/v1/index", { instrument, page_size: 1 }),
    ]);
    return {
      volume_mflop: candles.reduce((/** @type {bigint} */ all, /** @type {any} */ one) => all + BigInt(one.volume_mflop ?? 0), 0n),
      open_nanos: candles.length ? Number(candles[0].open_nanos) : null,
      index_nanos: hours.length ? Number(hours.at(-1).price_nanos) : null,
    };
  }
}

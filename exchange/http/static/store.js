// @ts-check
/** What the page knows: the newest overview, the trades seen so far and what is chosen. No DOM. */

/** @typedef {import("./format.js").Int} Int */
/** @typedef {[Int, Int, number]} Level price, quantity, orders */

/**
 * @typedef {object} Instrument
 * @property {number} instrument_id
 * @property {string} name
 * @property {string} state
 * @property {string} mode
 * @property {string} settlement
 * @property {number} last_price_nanos
 * @property {Level[]} bids
 * @property {Level[]} asks
 */

/**
 * @typedef {object} Trade
 * @property {Int} trade_id
 * @property {number} instrument_id
 * @property {number} price_nanos
 * @property {Int} quantity_mflop
 * @property {Int} event_time_ns
 * @property {string} taker_side
 * @property {Int} sequence
 */

/** @typedef {Trade & {key: string, move: number}} SeenTrade */

/**
 * @typedef {object} Worker
 * @property {number} worker_id
 * @property {string} name
 * @property {string} state
 * @property {boolean} connected
 * @property {number[]} slots
 * @property {number[]} slots_in_use
 * @property {number} leases_settled
 * @property {number} leases_failed
 * @property {Int} flops_settled
 */

/**
 * @typedef {object} Overview
 * @property {Int} sequence
 * @property {number} epoch
 * @property {number} uptime_s
 * @property {string} state
 * @property {number} instruments_total
 * @property {Instrument[]} instruments
 * @property {Trade[]} trades
 * @property {{queued: number, leased: number, settled: number, unsettled: number}} jobs
 * @property {number} orders_open
 * @property {{present: number, known: number, slots: number, slots_in_use: number}} workers_total
 * @property {Worker[]} workers
 * @property {Int} flops_settled
 * @property {Int} ledger_sum_nanos
 * @property {Int} journal_records
 */

/** Trades that are kept; the oldest go. */
export const TRADES_KEPT = 1000;

export class Store {
  constructor() {
    /** @type {Overview | null} */
    this.overview = null;
    /** Newest last. @type {SeenTrade[]} */
    this.trades = [];
    /** @type {Set<string>} */
    this.known = new Set();
    /** Last price by instrument. @type {Map<number, number>} */
    this.lastPrices = new Map();
    /** Name of the chosen instrument. */
    this.chosen = "";
    /** Whether the tape shows all instruments. */
    this.allTrades = false;
  }

  /** @param {Overview} overview */
  take(overview) {
    if (this.overview !== null && BigInt(overview.sequence) < BigInt(this.overview.sequence)) {
      // A journal only grows: this is another exchange.
      this.trades = [];
      this.known.clear();
      this.lastPrices.clear();
    }
    this.overview = overview;
    for (const trade of overview.trades) this.#takeTrade(trade);
    while (this.trades.length > TRADES_KEPT) {
      const oldest = /** @type {SeenTrade} */ (this.trades.shift());
      this.known.delete(oldest.key);
    }
  }

  /** @param {Trade} trade */
  #takeTrade(trade) {
    const key = `${trade.instrument_id}/${trade.sequence}/${trade.trade_id}`;
    if (this.known.has(key)) return;
    const before = this.lastPrices.get(trade.instrument_id) ?? trade.price_nanos;
    this.known.add(key);
    this.lastPrices.set(trade.instrument_id, trade.price_nanos);
    this.trades.push({ ...trade, key, move: Math.sign(trade.price_nanos - before) });
  }

  /** The chosen instrument, or the first one. @returns {Instrument | null} */
  get instrument() {
    const found = this.overview?.instruments ?? [];
    return found.find((instrument) => instrument.name === this.chosen) ?? found[0] ?? null;
  }

  /**
   * The newest trades of an instrument (null: of all), newest first.
   * @param {number | null} instrumentId
   * @param {number} count
   */
  newest(instrumentId, count) {
    const found = [];
    for (let i = this.trades.length - 1; i >= 0 && found.length < count; i -= 1) {
      const trade = this.trades[i];
      if (instrumentId === null || trade.instrument_id === instrumentId) found.push(trade);
    }
    return found;
  }
}

/**
 * Levels with the quantity up to and including each, best first.
 * @param {Level[]} levels
 */
export function cumulated(levels) {
  let sum = 0n;
  return levels.map(([price, quantity, orders]) => {
    sum += BigInt(quantity);
    return { price: Number(price), quantity, orders, sum };
  });
}

// @ts-check
/** What the page knows of the exchange: the newest overview and the trades seen so far. No DOM. */

/** @typedef {import("./format.js").Int} Int */
/** @typedef {[Int, Int, number]} Level price, quantity, orders */

/**
 * @typedef {object} Instrument
 * @property {number} instrument_id
 * @property {string} name
 * @property {string} state
 * @property {string} mode
 * @property {string} settlement
 * @property {Int} tick_nanos
 * @property {Int} lot_mflop
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
 */

/** @typedef {Trade & {key: string, move: number}} SeenTrade */

/**
 * @typedef {object} Worker
 * @property {number} worker_id
 * @property {string} name
 * @property {string} state
 * @property {boolean} connected
 * @property {string} hardware
 * @property {string[]} models
 * @property {number[]} slots
 * @property {number[]} slots_in_use
 * @property {number} leases_settled
 * @property {number} leases_failed
 * @property {Int} flops_settled
 * @property {Int} earned_nanos
 */

/**
 * @typedef {object} Overview
 * @property {Int} sequence
 * @property {number} epoch
 * @property {Int} event_time_ns
 * @property {number} uptime_s
 * @property {string} state
 * @property {number} instruments_total
 * @property {Instrument[]} instruments
 * @property {Trade[]} trades
 * @property {{queued: number, leased: number, settled: number, unsettled: number}} jobs
 * @property {number} orders_open
 * @property {number} leases_open
 * @property {{present: number, known: number, slots: number, slots_in_use: number}} workers_total
 * @property {Worker[]} workers
 * @property {Int} flops_settled
 * @property {Int} ledger_sum_nanos
 * @property {Int} journal_records
 */

/** Trades that are kept; the oldest go. */
export const TRADES_KEPT = 1000;
/** Samples of use that are kept for each worker, one a second; the oldest go. */
export const SAMPLES_KEPT = 120;

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
    /** Share of slots in use by worker, newest last. @type {Map<number, number[]>} */
    this.use = new Map();
    this.sampledAt = -1;
  }

  /** @param {Overview} overview */
  take(overview) {
    const before = this.overview;
    if (before !== null && BigInt(overview.sequence) < BigInt(before.sequence)) {
      // A journal only grows: this is another exchange.
      this.trades = [];
      this.known.clear();
      this.lastPrices.clear();
      this.use.clear();
      this.sampledAt = -1;
    }
    this.overview = overview;
    this.takeTrades(overview.trades);
    if (overview.uptime_s !== this.sampledAt) this.#sample(overview);
  }

  /** @param {Trade[]} trades oldest first; those that are known are passed over */
  takeTrades(trades) {
    const from = this.trades.length;
    for (const trade of trades) this.#takeTrade(trade);
    const [last, first] = [this.trades[from - 1], this.trades[from]];
    if (last && first && order(last, first) > 0) this.#sort();
    while (this.trades.length > TRADES_KEPT) {
      const oldest = /** @type {SeenTrade} */ (this.trades.shift());
      this.known.delete(oldest.key);
    }
  }

  /** Two sources need not come in step: put the trades in order, and say again which way prices went. */
  #sort() {
    this.trades.sort(order);
    this.lastPrices.clear();
    for (const trade of this.trades) {
      const before = this.lastPrices.get(trade.instrument_id) ?? trade.price_nanos;
      trade.move = Math.sign(trade.price_nanos - before);
      this.lastPrices.set(trade.instrument_id, trade.price_nanos);
    }
  }

  /** @param {Trade} trade */
  #takeTrade(trade) {
    const key = `${trade.instrument_id}/${trade.trade_id}`;
    if (this.known.has(key)) return;
    const before = this.lastPrices.get(trade.instrument_id) ?? trade.price_nanos;
    this.known.add(key);
    this.lastPrices.set(trade.instrument_id, trade.price_nanos);
    this.trades.push({ ...trade, key, move: Math.sign(trade.price_nanos - before) });
  }

  /** @param {string} name @returns {Instrument | null} the one of this name, or the first */
  instrument(name) {
    const found = this.overview?.instruments ?? [];
    return found.find((instrument) => instrument.name === name) ?? found[0] ?? null;
  }

  /** @param {number} instrumentId */
  nameOf(instrumentId) {
    const found = this.overview?.instruments.find((one) => one.instrument_id === instrumentId);
    return found?.name ?? `#${instrumentId}`;
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

  /** @param {Overview} overview */
  #sample(overview) {
    this.sampledAt = overview.uptime_s;
    for (const worker of overview.workers) {
      const samples = this.use.get(worker.worker_id) ?? [];
      samples.push(share(sum(worker.slots_in_use), sum(worker.slots)));
      if (samples.length > SAMPLES_KEPT) samples.shift();
      this.use.set(worker.worker_id, samples);
    }
  }
}

/**
 * Which of two trades was first: negative where it is the first of them.
 * @param {Trade} one
 * @param {Trade} other
 */
function order(one, other) {
  const by = BigInt(one.event_time_ns) - BigInt(other.event_time_ns) || BigInt(one.trade_id) - BigInt(other.trade_id);
  return by < 0n ? -1 : by > 0n ? 1 : 0;
}

/** @param {number[]} values */
export function sum(values) {
  return values.reduce((a, b) => a + b, 0);
}

/**
 * @param {number} part
 * @param {number} whole
 */
export function share(part, whole) {
  return whole ? part / whole : 0;
}

/**
 * Levels with the quantity up to and including each, best first.
 * @param {Level[]} levels
 */
export function cumulated(levels) {
  let total = 0n;
  return levels.map(([price, quantity, orders]) => {
    total += BigInt(quantity);
    return { price: Number(price), quantity, orders, sum: total };
  });
}

/**
 * What stands between the best prices: its width, and as a share of the ask; null where a side is empty.
 * @param {{bids: Level[], asks: Level[]}} book
 */
export function spread({ bids, asks }) {
  if (!bids.length || !asks.length) return null;
  const bid = Number(bids[0][0]);
  const ask = Number(asks[0][0]);
  return { nanos: ask - bid, share: (ask - bid) / ask };
}

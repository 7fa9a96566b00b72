// @ts-check
/** Candles: those that the exchange keeps, and the ones that trades seen here make. Pure. */

/**
 * @typedef {object} Bar
 * @property {number} time begin, seconds since the epoch
 * @property {number} open
 * @property {number} high
 * @property {number} low
 * @property {number} close
 * @property {number} volume MFLOP
 */

/** Widths in seconds, and how they are called. @type {[number, string][]} */
export const WIDTHS = [[1, "1 s"], [60, "1 min"], [300, "5 min"], [3600, "1 h"], [86400, "1 d"]];

/**
 * Candles of trades, oldest first.
 * @param {import("./store.js").Trade[]} trades oldest first
 * @param {number} width seconds
 * @returns {Bar[]}
 */
export function barsOf(trades, width) {
  /** @type {Bar[]} */
  const bars = [];
  for (const trade of trades) {
    const seconds = Number(BigInt(trade.event_time_ns) / 1_000_000_000n);
    const time = seconds - (seconds % width);
    const { price_nanos: price } = trade;
    const last = bars.at(-1);
    if (last?.time === time) {
      last.high = Math.max(last.high, price);
      last.low = Math.min(last.low, price);
      last.close = price;
      last.volume += Number(trade.quantity_mflop);
    } else if (!last || time > last.time) {
      bars.push({ time, open: price, high: price, low: price, close: price, volume: Number(trade.quantity_mflop) });
    }
  }
  return bars;
}

/**
 * A candle of the exchange as a bar.
 * @param {any} candle as `ListCandles` gives it
 * @returns {Bar}
 */
export function barOf(candle) {
  return {
    time: Number(BigInt(candle.start_time_ns) / 1_000_000_000n),
    open: Number(candle.open_nanos),
    high: Number(candle.high_nanos),
    low: Number(candle.low_nanos),
    close: Number(candle.close_nanos),
    volume: Number(candle.volume_mflop ?? 0),
  };
}

/**
 * What is known later takes the place of what was known before; both oldest first.
 * @param {Bar[]} before
 * @param {Bar[]} later
 * @returns {Bar[]}
 */
export function merged(before, later) {
  if (!later.length) return before;
  const from = later[0].time;
  return [...before.filter(({ time }) => time < from), ...later];
}

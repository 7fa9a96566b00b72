// @ts-check
/** The depth chart's geometry: how much is wanted and for sale up to each price. Pure. */

/** @typedef {import("./store.js").Level} Level */
/** @typedef {{price: number, sum: number}} Point */
/**
 * @typedef {object} Curves
 * @property {number} low lowest price shown
 * @property {number} high highest price shown
 * @property {number} top largest sum shown, of either side
 * @property {Point[]} bids from the best bid down, with the quantity at this price or better
 * @property {Point[]} asks from the best ask up, likewise
 */

/** Farther from a price than this, a level is another one's. */
const FACTOR_MAX = 1.5;
/** Share of the prices' span that is left free on either side. */
const MARGIN = 0.04;

/**
 * Both curves and the box that holds them; null for an empty book.
 * @param {Level[]} bids best first
 * @param {Level[]} asks best first
 * @returns {Curves | null}
 */
export function curves(bids, asks) {
  const down = summed(bids);
  const up = summed(asks);
  const prices = [...down, ...up].map(({ price }) => price);
  if (!prices.length) return null;
  const least = Math.min(...prices);
  const most = Math.max(...prices);
  const margin = Math.max((most - least) * MARGIN, most === least ? Math.max(1, most * 0.1) : 0);
  return {
    low: Math.max(0, least - margin),
    high: most + margin,
    top: Math.max(down.at(-1)?.sum ?? 0, up.at(-1)?.sum ?? 0),
    bids: down,
    asks: up,
  };
}

/** @param {Level[]} levels @returns {Point[]} */
function summed(levels) {
  let sum = 0;
  return levels.map(([price, quantity]) => {
    sum += Number(quantity);
    return { price: Number(price), sum };
  });
}

/**
 * A curve as steps, from its best price to the edge of the box: points of a polyline.
 * @param {Point[]} points
 * @param {number} edge the price at which the box ends on this side
 * @returns {Point[]}
 */
export function steps(points, edge) {
  /** @type {Point[]} */
  const found = [];
  let sum = 0;
  for (const point of points) {
    found.push({ price: point.price, sum }, point);
    sum = point.sum;
  }
  if (found.length) found.push({ price: edge, sum });
  return found;
}

/**
 * How much can be traded at this price or better, and on which side; null between the best prices.
 * @param {Curves} shown
 * @param {number} price
 * @returns {{side: "bid" | "ask", sum: number} | null}
 */
export function sumAt(shown, price) {
  const bid = shown.bids.filter((point) => point.price >= price).at(-1);
  if (bid) return { side: "bid", sum: bid.sum };
  const ask = shown.asks.filter((point) => point.price <= price).at(-1);
  return ask ? { side: "ask", sum: ask.sum } : null;
}

/**
 * The price of the level that is nearest to one; null where none is near.
 * @param {Level[]} levels
 * @param {number} price
 */
export function nearest(levels, price) {
  const prices = levels.map(([at]) => Number(at)).filter((at) => at <= price * FACTOR_MAX && at >= price / FACTOR_MAX);
  if (!prices.length) return null;
  return prices.reduce((best, at) => (Math.abs(at - price) < Math.abs(best - price) ? at : best));
}

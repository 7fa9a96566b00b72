// @ts-check
/** Where a job's own bid stands in the book: the exchange's rule, but for the run time that it takes off. Pure. */

/** How fast a managed bid rises: it is half of its density when this much time is left. */
const RISE_NS = 1_000_000_000n;
const MFLOP_PER_CU = 1_000_000n;
/** Farther from the estimate than this, it is somebody else's bid. */
const FACTOR_MAX = 1.5;

/**
 * What a job bids about now, nano-dollars per CU: its limit, or value per CU, the more the less time is left.
 * @param {any} job
 * @param {bigint} nowNs
 */
export function bidPrice(job, nowNs) {
  const quantity = BigInt(job.quantity_mflop ?? 0);
  if (BigInt(job.limit_nanos ?? 0) > 0n) return Number(job.limit_nanos);
  if (quantity <= 0n) return 0;
  const density = (BigInt(job.value_nanos ?? 0) * MFLOP_PER_CU) / quantity;
  const left = BigInt(job.deadline_time_ns ?? 0) - nowNs;
  const rising = (density * RISE_NS) / (RISE_NS + (left > 0n ? left : 0n));
  const most = (BigInt(job.escrow_nanos ?? 0) * MFLOP_PER_CU) / quantity;
  return Number(rising < most ? rising : most);
}

/**
 * The price of the level that is nearest to one; null where none is near.
 * @param {import("./store.js").Level[]} levels
 * @param {number} price
 */
export function nearest(levels, price) {
  const prices = levels.map(([at]) => Number(at)).filter((at) => at <= price * FACTOR_MAX && at >= price / FACTOR_MAX);
  if (!prices.length) return null;
  return prices.reduce((best, at) => (Math.abs(at - price) < Math.abs(best - price) ? at : best));
}

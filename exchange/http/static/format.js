// @ts-check
/** How numbers become text. Integers above 2^53 come as strings and stay exact. */

/** @typedef {number | string | bigint} Int */

const GROUPED = new Intl.NumberFormat("en-US");
const FOUR_DIGITS = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 4 });
const TWO_DECIMALS = new Intl.NumberFormat("en-US", {
  minimumFractionDigits: 2,
  maximumFractionDigits: 2,
});
const COMPUTE_UNITS = ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP", "ZFLOP"];
const MFLOP = 2; // position in COMPUTE_UNITS
const NANOS_DIGITS = 9;

/** What stands where there is no figure. */
export const NONE = "–";

/** @param {Int} value */
export function integer(value) {
  return GROUPED.format(typeof value === "string" ? BigInt(value) : value);
}

/**
 * Compute to four digits: 1,234,567 with `unit` MFLOP is "1.235 TFLOP".
 * @param {Int} value
 * @param {number} unit position in COMPUTE_UNITS
 */
function compute(value, unit) {
  let scaled = Number(value);
  while (Math.abs(scaled) >= 1000 && unit < COMPUTE_UNITS.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  return `${FOUR_DIGITS.format(scaled)} ${COMPUTE_UNITS[unit]}`;
}

/**
 * One unit for a column of figures, so that they can be compared at a glance.
 * @param {number} largest MFLOP
 * @returns {{name: string, format: (value: any) => string}}
 */
export function column(largest) {
  let unit = MFLOP;
  let scale = 1;
  while (largest / scale >= 10_000 && unit < COMPUTE_UNITS.length - 1) {
    scale *= 1000;
    unit += 1;
  }
  if (scale === 1) return { name: COMPUTE_UNITS[unit], format: integer };
  const format = (/** @type {Int} */ value) => TWO_DECIMALS.format(Number(value) / scale);
  return { name: COMPUTE_UNITS[unit], format };
}

/** @param {Int} value */
export function mflop(value) {
  return compute(value, MFLOP);
}

/** @param {Int} value */
export function flops(value) {
  return compute(value, 0);
}

/**
 * Nano-dollars as dollars, exact: 8,000 is "$0.000008".
 * @param {Int} nanos
 */
export function money(nanos) {
  const value = BigInt(nanos);
  const digits = String(value < 0n ? -value : value).padStart(NANOS_DIGITS + 1, "0");
  const whole = GROUPED.format(BigInt(digits.slice(0, -NANOS_DIGITS)));
  const part = digits.slice(-NANOS_DIGITS).replace(/0{1,7}$/, "");
  return `${value < 0n ? "−" : ""}$${whole}.${part}`;
}

/**
 * Nano-dollars as dollars with all their decimals, so that a column of them stands point below point.
 * @param {Int} nanos
 */
export function fullMoney(nanos) {
  const text = money(nanos);
  return text.padEnd(text.indexOf(".") + 1 + NANOS_DIGITS, "0");
}

/**
 * Dollars as nano-dollars; null where it is no amount: "0.001" is 1,000,000.
 * @param {string} text
 * @returns {bigint | null}
 */
export function nanosOf(text) {
  const found = /^\s*\$?\s*(\d{1,9})(?:\.(\d{1,9}))?\s*$/.exec(text);
  if (found === null) return null;
  return BigInt(found[1] + (found[2] ?? "").padEnd(NANOS_DIGITS, "0"));
}

/**
 * CU as MFLOP; null where it is no quantity: "2.5" is 2,500,000.
 * @param {string} text
 * @returns {bigint | null}
 */
export function mflopOf(text) {
  const found = /^\s*(\d{1,9})(?:\.(\d{1,6}))?\s*$/.exec(text);
  const mflops = found && BigInt(found[1] + (found[2] ?? "").padEnd(6, "0"));
  return mflops || null;
}

/** @param {number} value share from 0 to 1 */
export function percent(value) {
  const size = Math.abs(value);
  const digits = size === 0 ? 0 : size < 0.01 ? 2 : size < 0.1 ? 1 : 0;
  return `${(value * 100).toFixed(digits)} %`;
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** @param {Int} durationNs */
export function seconds(durationNs) {
  const value = Number(durationNs) / 1e9;
  return `${value < 10 ? value.toFixed(2) : value.toFixed(1)} s`;
}

/**
 * Local time of day, and its milliseconds.
 * @param {Int} timeNs nanoseconds since the epoch
 * @returns {[string, string]}
 */
export function timeOfDay(timeNs) {
  const date = new Date(Number(BigInt(timeNs) / 1_000_000n));
  const two = (/** @type {number} */ part) => String(part).padStart(2, "0");
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
  return [clock, `.${String(date.getMilliseconds()).padStart(3, "0")}`];
}

/**
 * @param {Int} count
 * @param {string} one
 * @param {string} many
 */
export function plural(count, one, many) {
  return `${integer(count)} ${Number(count) === 1 ? one : many}`;
}

/**
 * A name of an enumeration as words: "JOB_STATE_SETTLED" without "JOB_STATE_" is "settled".
 * @param {string | undefined} name
 * @param {string} prefix
 */
export function words(name, prefix = "") {
  if (!name || name.endsWith("UNSPECIFIED") || name === "REASON_NONE") return "";
  return name.replace(prefix, "").toLowerCase().replaceAll("_", " ");
}

// @ts-check
/** The auction clock: when a batch book cleared in the last minute, or when a call auction ends. */

import { NONE, integer, mflop, plural, timeOfDay } from "../format.js";
import { html, useEffect, useReducer } from "../vendor/preact-htm.js";

/** @typedef {import("../market.js").LiveBook} LiveBook */
/** @typedef {import("../store.js").SeenTrade} SeenTrade */

const MINUTE_NS = 60_000_000_000n;
const RADIUS = 40;
const AROUND = 2 * Math.PI * RADIUS;
const TRADES_LOOKED_AT = 400;

/**
 * @param {{book: LiveBook, store: import("../store.js").Store, nowNs: () => bigint}} props
 */
export function Clock({ book, store, nowNs }) {
  const [, tick] = useReducer((/** @type {number} */ count) => count + 1, 0);
  useEffect(() => {
    const timer = setInterval(tick, 1000);
    return () => clearInterval(timer);
  }, []);
  const now = nowNs();
  if (book.state === "auction") return html`<${Call} book=${book} now=${now} />`;
  const batches = uncrosses(store.newest(book.instrument_id, TRADES_LOOKED_AT), now);
  const batch = book.mode === "batch";
  const last = store.newest(book.instrument_id, 1)[0];
  const rule = batch ? "Clears every 10 ms while bids and asks may meet" : "Trades at once, by price and time";
  const what = batch ? ["batch", "batches"] : ["trade", "trades"];
  return html`
    <div class="clock">
      <${Face} now=${now} marks=${batches} said="${plural(batches.length, what[0], what[1])} in the last minute" />
      <div class="clock-said">
        <strong>${batch ? "Batch auction" : "Continuous"}</strong>
        <span>${rule}</span>
        <span>${plural(batches.length, what[0], what[1])} in the last 60 s · last ${last ? timeOfDay(last.event_time_ns)[0] : NONE}</span>
      </div>
    </div>
  `;
}

/** @param {{book: LiveBook, now: bigint}} props */
function Call({ book, now }) {
  const auction = book.auction;
  const end = BigInt(auction?.end_time_ns ?? 0);
  const left = end > now ? Number((end - now) / 1_000_000_000n) : 0;
  const price = Number(auction?.price_nanos ?? 0);
  return html`
    <div class="clock">
      <${Face} now=${now} marks=${[]} left=${Math.min(60, left)} said="call auction, ${left} s left" />
      <div class="clock-said">
        <strong>Call auction${end ? `, ${left} s left` : ""}</strong>
        <span>${price ? `would trade ${mflop(auction?.volume_mflop ?? 0)} at ${integer(price)} nano$/CU` : "nothing would trade yet"}</span>
        <span>${end ? "then all that can trade does, at one price" : "the operator ends it"}</span>
      </div>
    </div>
  `;
}

/**
 * The last 60 seconds as a ring, now at the top; a mark for each time that something was cleared.
 * @param {{now: bigint, marks: {ageS: number, count: number}[], left?: number, said: string}} props
 */
function Face({ marks, left = 0, said }) {
  return html`
    <svg class="face" viewBox="0 0 100 100" role="img" aria-label=${said}>
      <circle class="face-ring" cx="50" cy="50" r=${RADIUS} />
      ${left > 0 && html`<circle class="face-left" cx="50" cy="50" r=${RADIUS} transform="rotate(-90 50 50)"
        stroke-dasharray="${(left / 60) * AROUND} ${AROUND}" />`}
      ${marks.map(({ ageS, count }) => html`
        <line key=${ageS} class="face-mark" x1="50" x2="50" y1="10" y2=${Math.min(34, 20 + count * 2)}
          transform="rotate(${-ageS * 6} 50 50)" opacity=${1 - ageS / 75} />
      `)}
      <path class="face-now" d="M45 0 h10 l-5 8 z" />
      <text class="face-number" x="50" y="50">${left > 0 ? left : marks.length}</text>
    </svg>
  `;
}

/**
 * When trades happened in the last minute, to the second, newest first, and how many.
 * @param {SeenTrade[]} trades newest first
 * @param {bigint} now nanoseconds since the epoch
 */
export function uncrosses(trades, now) {
  /** @type {Map<string, number>} */
  const times = new Map();
  for (const { event_time_ns } of trades) {
    const time = String(event_time_ns);
    if (now - BigInt(time) >= MINUTE_NS) break;
    times.set(time, (times.get(time) ?? 0) + 1);
  }
  return [...times].map(([time, count]) => ({
    ageS: Math.max(0, Number((now - BigInt(time)) / 1_000_000n) / 1000),
    count,
  }));
}

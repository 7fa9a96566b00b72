// @ts-check
/** The depth chart: how much is wanted and for sale up to each price. */

import { curves, steps, sumAt } from "../depth.js";
import { integer, mflop, plural } from "../format.js";
import { Empty } from "../ui.js";
import { html, useState } from "../vendor/preact-htm.js";

/** @typedef {import("../market.js").LiveBook} LiveBook */

const WIDTH = 1000;
const HEIGHT = 400;
const HEADROOM = 1.08;

/** @param {{book: LiveBook | null}} props */
export function Depth({ book }) {
  const [at, setAt] = useState(/** @type {number | null} */ (null));
  const shown = book && curves(book.bids, book.asks);
  if (!book || !shown) return html`<${Empty}>The book is empty: depth appears with the first order.<//>`;
  const span = shown.high - shown.low;
  const x = (/** @type {number} */ price) => ((price - shown.low) / span) * WIDTH;
  const y = (/** @type {number} */ sum) => HEIGHT - (sum / (shown.top * HEADROOM)) * HEIGHT;
  const quantity = (/** @type {number} */ sum, /** @type {string} */ side) =>
    book.mode !== "batch" ? mflop(sum) : side === "bid" ? plural(sum, "job", "jobs") : plural(sum, "slot", "slots");
  const price = at === null ? null : shown.low + at * span;
  const found = price === null ? null : sumAt(shown, price);
  const look = (/** @type {PointerEvent} */ event) => {
    const box = /** @type {Element} */ (event.currentTarget).getBoundingClientRect();
    setAt(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
  };
  const side = (/** @type {"bids" | "asks"} */ name, /** @type {number} */ edge) => {
    const line = steps(shown[name], edge).map((point) => `${x(point.price).toFixed(1)},${y(point.sum).toFixed(1)}`);
    if (!line.length) return null;
    const first = x(shown[name][0].price).toFixed(1);
    return html`
      <polygon class="depth-area ${name}" points="${first},${HEIGHT} ${line.join(" ")} ${x(edge).toFixed(1)},${HEIGHT}" />
      <polyline class="depth-line ${name}" points=${line.join(" ")} />
    `;
  };
  return html`
    <div class="depth">
      <p class="depth-said">
        ${price === null
          ? html`<span class="bid">▲ ${quantity(shown.bids.at(-1)?.sum ?? 0, "bid")} bid</span>
              <span class="ask">▼ ${quantity(shown.asks.at(-1)?.sum ?? 0, "ask")} asked</span>`
          : html`<span>${integer(Math.round(price))} nano$/CU</span>
              <span class=${found?.side ?? "muted"}>
                ${found ? `${found.side === "bid" ? "▲" : "▼"} ${quantity(found.sum, found.side)} at this price or better` : "inside the spread"}
              </span>`}
      </p>
      <div class="depth-plot" onPointerMove=${look} onPointerLeave=${() => setAt(null)}>
        <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img"
          aria-label="Depth of ${book.name}: ${quantity(shown.bids.at(-1)?.sum ?? 0, "bid")} bid, ${quantity(shown.asks.at(-1)?.sum ?? 0, "ask")} asked">
          ${[0.25, 0.5, 0.75].map((part) => html`<line key=${part} class="depth-grid" x1="0" x2=${WIDTH} y1=${HEIGHT * part} y2=${HEIGHT * part} />`)}
          ${side("bids", shown.low)}${side("asks", shown.high)}
          ${at !== null && html`<line class="depth-cursor" x1=${at * WIDTH} x2=${at * WIDTH} y1="0" y2=${HEIGHT} />`}
        </svg>
      </div>
      <p class="depth-axis">
        <span>${integer(Math.round(shown.low))}</span>
        <span>${integer(Math.round((shown.low + shown.high) / 2))}</span>
        <span>${integer(Math.round(shown.high))}</span>
      </p>
    </div>
  `;
}

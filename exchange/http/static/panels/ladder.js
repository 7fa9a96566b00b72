// @ts-check
/** The order book: asks above, bids below, the best of both in the middle, one's own marked. */

import { column, integer, percent } from "../format.js";
import { cumulated, spread } from "../store.js";
import { Arrow, Empty, Lit } from "../ui.js";
import { html, useEffect, useRef, useState } from "../vendor/preact-htm.js";

/** @typedef {import("../market.js").LiveBook} LiveBook */
/** @typedef {ReturnType<typeof cumulated>[number]} Line */
/** @typedef {Map<string, string>} Own what one has at a price: by side and price, such as "bid/1745" */

/** Heights of the style sheet, in rem: of a line, and of all that is no line. */
const LINE_REM = 1.64;
const FIXED_REM = 9;
const LEVELS_MIN = 6;
const LEVELS_MAX = 30;
/** Where panels grow with what is in them instead of having a height of their own. */
const LEVELS_GROWING = 8;
const FIXED_HEIGHTS = matchMedia("(min-width: 80rem)");

/**
 * @param {{book: LiveBook | null, levels?: number, own?: Own, pick?: (price: number) => void}} props
 *   Without `levels`, as many as there is room for.
 */
export function Ladder({ book, levels, own = new Map(), pick }) {
  const holder = useRef(/** @type {HTMLElement | null} */ (null));
  const fitting = useFitting(holder);
  const room = levels ?? Math.min(fitting, book?.live ? LEVELS_MAX : 10);
  return html`<div class="ladder-body" ref=${holder}>${book === null
    ? html`<${Empty}>No instrument to show yet.<//>`
    : html`<${Book} book=${book} levels=${room} own=${own} pick=${pick} />`}</div>`;
}

/**
 * How many levels of each side fit into the height that there is.
 * @param {{current: HTMLElement | null}} holder
 */
function useFitting(holder) {
  const [levels, setLevels] = useState(10);
  useEffect(() => {
    const node = /** @type {HTMLElement} */ (holder.current);
    const measure = () => {
      if (!FIXED_HEIGHTS.matches) {
        setLevels(LEVELS_GROWING);
        return;
      }
      const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
      const room = node.clientHeight - FIXED_REM * rem;
      setLevels(Math.max(LEVELS_MIN, Math.min(LEVELS_MAX, Math.floor(room / (2 * LINE_REM * rem)))));
    };
    const observer = new ResizeObserver(measure);
    observer.observe(node);
    return () => observer.disconnect();
  }, []);
  return levels;
}

/** @param {{book: LiveBook, levels: number, own: Own, pick?: (price: number) => void}} props */
function Book({ book, levels, own, pick }) {
  const batch = book.mode === "batch";
  const asks = cumulated(book.asks.slice(0, levels));
  const bids = cumulated(book.bids.slice(0, levels));
  // In a batch book bids are jobs and asks are slots: each side has a scale of its own.
  const both = Math.max(total(asks), total(bids));
  const unit = batch ? { name: "", format: integer } : column(both);
  const lines = { levels, quantity: unit.format, own, pick };
  return html`
    <div class="book" role="table" aria-label="Order book of ${book.name}">
      <div role="rowgroup">
        <div class="line head" role="row">
          <span role="columnheader">Price<small>nano$/CU</small></span>
          <span role="columnheader">Quantity<small>${unit.name || "count"}</small></span>
          <span role="columnheader">Sum<small>${unit.name || "count"}</small></span>
          <span role="columnheader">Orders<small>count</small></span>
        </div>
      </div>
      <${Side} kind="ask" title="▼ Asks" unit=${batch ? "free slots" : ""} lines=${asks}
        scale=${batch ? total(asks) : both} ...${lines} />
      <${Middle} book=${book} />
      <${Side} kind="bid" title="▲ Bids" unit=${batch ? "waiting jobs" : ""} lines=${bids}
        scale=${batch ? total(bids) : both} ...${lines} />
    </div>
  `;
}

/** @param {{book: LiveBook}} props */
function Middle({ book }) {
  const last = book.last_price_nanos;
  return html`
    <div role="rowgroup">
      <div class="middle" role="row">
        <span role="cell" class="middle-last">
          ${last ? html`<${Arrow} move=${book.move} /><${Lit} text=${integer(last)} />` : "no trade yet"}
        </span>
        <span role="cell" class="middle-about">${last ? "last · " : ""}${between(book)}</span>
      </div>
    </div>
  `;
}

/** @param {LiveBook} book */
export function between(book) {
  if (book.state !== "open") return `‖ ${book.state}`;
  const width = spread(book);
  if (width !== null && width.nanos > 0) return `spread ${integer(width.nanos)} (${percent(width.share)})`;
  if (width !== null) return book.mode === "batch" ? "crossed: waits for the next batch" : "crossed";
  return book.bids.length || book.asks.length ? "one side is empty" : "the book is empty";
}

/**
 * @param {{kind: "bid" | "ask", title: string, unit: string, lines: Line[], scale: number, levels: number,
 *   quantity: (value: any) => string, own: Own, pick?: (price: number) => void}} props
 */
function Side({ kind, title, unit, lines, scale, levels, quantity, own, pick }) {
  // By place, so that what is pointed at stays while prices move through it.
  const rows = Array.from({ length: levels }, (_, i) => html`
    <${Row} key=${i} kind=${kind} line=${lines[i]} scale=${scale} quantity=${quantity}
      own=${lines[i] ? own.get(`${kind}/${lines[i].price}`) : undefined} pick=${pick} />
  `);
  // Asks are drawn from the dearest down to the best.
  return html`
    <div class="side ${kind}" role="rowgroup">
      <div class="side-title" role="row"><span role="cell">${title}</span><span role="cell">${unit}</span></div>
      ${kind === "ask" ? rows.reverse() : rows}
    </div>
  `;
}

/**
 * @param {{kind: string, line: Line | undefined, scale: number, quantity: (value: any) => string,
 *   own: string | undefined, pick?: (price: number) => void}} props
 */
function Row({ kind, line, scale, quantity, own, pick }) {
  if (!line) return html`<div class="line" role="row" aria-hidden="true"></div>`;
  const share = (/** @type {any} */ part) => `${scale ? ((Number(part) / scale) * 100).toFixed(1) : 0}%`;
  const bars = { "--level": share(line.quantity), "--sum": share(line.sum) };
  const price = integer(line.price);
  return html`
    <div class="line" role="row" data-own=${own ? "true" : null} style=${bars}>
      <span role="cell" class="line-price">
        ${own && html`<span class="own" title=${own} role="img" aria-label="yours: ${own}">◆</span>`}
        ${pick
          ? html`<button type="button" class="plain" title="Use this price in the ticket"
              aria-label="Use the ${kind} price ${price}" onClick=${() => pick(line.price)}>${price}</button>`
          : price}
      </span>
      <span role="cell"><${Lit} text=${quantity(line.quantity)} of=${price} /></span>
      <span role="cell">${quantity(line.sum)}</span>
      <span role="cell">${integer(line.orders)}</span>
    </div>
  `;
}

/** @param {Line[]} lines */
function total(lines) {
  return Number(lines.at(-1)?.sum ?? 0n);
}

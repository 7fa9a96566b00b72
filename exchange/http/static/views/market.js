// @ts-check
/** The market: instruments, chart, ladder, tape, one's own orders, workers. */

import { WIDTHS, barOf, barsOf, merged } from "../candles.js";
import { NONE, integer, mflop, percent } from "../format.js";
import { useTopics } from "../observe.js";
import { Chart } from "../panels/chart.js";
import { Clock } from "../panels/clock.js";
import { Counters } from "../panels/counters.js";
import { Depth } from "../panels/depth.js";
import { Instruments } from "../panels/instruments.js";
import { Ladder } from "../panels/ladder.js";
import { Orders, useOwnOrders } from "../panels/orders.js";
import { Tape } from "../panels/tape.js";
import { Ticket } from "../panels/ticket.js";
import { Workers } from "../panels/workers.js";
import { spread } from "../store.js";
import { Arrow, Choice, Empty, Figure, Lit, Panel } from "../ui.js";
import { html, useEffect, useMemo, useState } from "../vendor/preact-htm.js";

/** @typedef {import("../app.js").Page} Page */
/** @typedef {import("../market.js").LiveBook} LiveBook */

const CANDLES = 300;
const CANDLES_AGAIN_MS = 2000;

/** @param {{page: Page, signIn: () => void}} props */
export function MarketView({ page, signIn }) {
  // Not with each change of the book: the panels that show it listen for themselves.
  useTopics(page.heard, page.days.topic, page.route.topic);
  const [picked, setPicked] = useState({ price: 0, count: 0 });
  const orders = useOwnOrders(page);
  const wide = useMedia("(min-width: 120rem)");
  const overview = page.store.overview;
  if (overview === null) return html`<${Empty}>Waiting for the exchange …<//>`;
  const { book } = page.market;
  const pick = (/** @type {number} */ price) => setPicked(({ count }) => ({ price, count: count + 1 }));
  const continuous = book?.mode === "continuous";
  return html`
    <h1 class="hidden">Market</h1>
    <${Counters} overview=${overview} />
    <${Instruments} store=${page.store} chosen=${page.instrument} days=${page.days.found}
      choose=${(/** @type {string} */ name) => page.route.choose(name)} />
    <${ChartPanel} page=${page} both=${wide} />
    ${wide && html`<${DepthPanel} page=${page} />`}
    <${LadderPanel} page=${page} own=${orders.own} pick=${continuous ? pick : undefined} />
    <${Tape} page=${page} />
    <${Ticket} page=${page} book=${book} picked=${picked} placed=${orders.refresh} signIn=${signIn} />
    <${Orders} page=${page} orders=${orders} signIn=${signIn} />
    <${Workers} store=${page.store} />
  `;
}

/** @param {{page: Page, own: Map<string, string>, pick?: (price: number) => void}} props */
function LadderPanel({ page, own, pick }) {
  useTopics(page.market.topic);
  const { book } = page.market;
  const aside = html`<p class="unit">${book?.mode ?? ""} · ${book?.live ? "every change" : "10 times a second"}</p>`;
  return html`
    <${Panel} id="ladder" title="Order book" kind="ladder" aside=${aside}><${Ladder} book=${book} own=${own} pick=${pick} /><//>
  `;
}

/** @param {{page: Page}} props */
function DepthPanel({ page }) {
  useTopics(page.market.topic);
  return html`
    <${Panel} id="depth" title="Depth" kind="depth-panel" aside=${html`<p class="unit">nano$/CU</p>`}><${Depth} book=${page.market.book} /><//>
  `;
}

/** @param {{page: Page, both: boolean}} props `both`: depth has a panel of its own */
function ChartPanel({ page, both }) {
  useTopics(page.market.topic);
  const { book } = page.market;
  const [asked, setWhat] = useState("candles");
  const what = both ? "candles" : asked;
  const [chosen, setWidth] = useState(0);
  const width = chosen || (page.session.account === null ? 1 : 60);
  const bars = useBars(page, book, width);
  const theme = useTheme();
  if (book === null) return html`<${Panel} id="chart" title="Chart" kind="chart-panel"><${Empty}>No instrument to show yet.<//><//>`;
  const aside = html`
    <div class="choices">
      ${what === "candles" && html`
        <${Choice} label="Width of a candle" name="width" value=${String(width)} choose=${(/** @type {string} */ one) => setWidth(Number(one))}
          options=${WIDTHS.map(([seconds, text]) => [String(seconds), text])} />
      `}
      ${!both && html`
        <${Choice} label="Chart" name="chart" value=${what} choose=${setWhat} options=${[["candles", "Candles"], ["depth", "Depth"]]} />
      `}
    </div>
  `;
  return html`
    <${Panel} id="chart" title=${book.name} kind="chart-panel" aside=${aside}>
      <${Headline} page=${page} book=${book} />
      ${what === "depth"
        ? html`<${Depth} book=${book} />`
        : html`<div class="chart-body">
            <${Chart} bars=${bars} width=${width} subject=${book.name} theme=${theme} tick=${Number(page.instrument?.tick_nanos ?? 1)} />
            ${!bars.length && html`<${Empty}>No trades yet: a candle appears with the first.<//>`}
          </div>`}
      <p class="credit">${what === "depth" ? "Quantity at each price or better" : html`nano$/CU; a hollow candle rose, a filled one fell · Charts by <a href="https://www.tradingview.com/" target="_blank" rel="noopener noreferrer">TradingView</a> Lightweight Charts™, © 2026 TradingView, Inc.`}</p>
    <//>
  `;
}

/** @param {{page: Page, book: LiveBook}} props */
function Headline({ page, book }) {
  const day = page.days.found.get(book.name);
  const width = spread(book);
  const last = book.last_price_nanos;
  const moved = day?.open_nanos && last ? (last - day.open_nanos) / day.open_nanos : null;
  return html`
    <div class="headline">
      <dl>
        <${Figure} name="Last" unit="nano$/CU"
          value=${last ? html`<${Lit} text=${integer(last)} /><${Arrow} move=${book.move} />` : NONE} />
        <${Figure} name="Spread" value=${width && width.nanos > 0 ? integer(width.nanos) : NONE} unit=${width && width.nanos > 0 ? percent(width.share) : ""} />
        ${day && html`
          <${Figure} name="24 h" value=${moved === null ? NONE : html`${percent(Math.abs(moved))}<${Arrow} move=${Math.sign(moved)} />`} />
          <${Figure} name="24 h volume" value=${mflop(day.volume_mflop).split(" ")[0]} unit=${mflop(day.volume_mflop).split(" ")[1]} />
          <${Figure} name="Hourly index" value=${day.index_nanos === null ? NONE : integer(day.index_nanos)} unit=${day.index_nanos === null ? "" : "nano$/CU"} />
        `}
      </dl>
      <${Clock} book=${book} store=${page.store} nowNs=${() => page.nowNs()} />
    </div>
  `;
}

/**
 * Candles of an instrument: the exchange's where one is signed in, and the trades seen here.
 * @param {Page} page
 * @param {LiveBook | null} book
 * @param {number} width seconds
 */
function useBars(page, book, width) {
  const [kept, setKept] = useState(/** @type {import("../candles.js").Bar[]} */ ([]));
  const name = book?.name ?? "";
  const signedIn = page.session.account !== null;
  useEffect(() => {
    setKept([]);
    if (!name || !signedIn) return undefined;
    let over = false;
    let asking = false;
    let latest = "";
    const load = async (/** @type {number} */ count) => {
      if (asking || document.hidden || page.session.account === null) return;
      asking = true;
      try {
        const { candles = [] } = await page.api.get("/v1/candles", { instrument: name, width_s: width, page_size: count });
        if (!over) setKept((before) => merged(count === CANDLES ? [] : before, candles.map(barOf)));
      } catch {
        latest = "";
      } finally {
        asking = false;
      }
    };
    load(CANDLES);
    const timer = setInterval(() => {
      const newest = page.store.newest(book?.instrument_id ?? null, 1)[0]?.key ?? "";
      if (newest !== latest) load(3);
      latest = newest;
    }, CANDLES_AGAIN_MS);
    return () => {
      over = true;
      clearInterval(timer);
    };
  }, [name, width, signedIn]);
  const trades = book ? page.store.newest(book.instrument_id, Infinity) : [];
  const newest = trades[0]?.key ?? "";
  return useMemo(() => {
    const seen = barsOf(trades.reverse(), width);
    if (!signedIn) return seen;
    // Behind the exchange's own candles, only what they cannot contain yet.
    const last = kept.at(-1)?.time ?? 0;
    return [...kept, ...seen.filter(({ time }) => kept.length > 0 && time > last)];
  }, [kept, newest, width, signedIn]);
}

/** Whether the screen is such. @param {string} query */
function useMedia(query) {
  const media = matchMedia(query);
  const [matches, setMatches] = useState(media.matches);
  useEffect(() => {
    const changed = () => setMatches(media.matches);
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, [query]);
  return matches;
}

/** The colours in use, so that what is painted on a canvas follows them. */
function useTheme() {
  const [theme, setTheme] = useState(0);
  useEffect(() => {
    const changed = () => setTheme((count) => count + 1);
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", changed);
    addEventListener("themechange", changed);
    return () => {
      system.removeEventListener("change", changed);
      removeEventListener("themechange", changed);
    };
  }, []);
  return String(theme);
}

// @ts-check
/** Price and volume as candles, drawn by lightweight-charts. */

import { integer, mflop, timeOfDay } from "../format.js";
import { html, useEffect, useRef } from "../vendor/preact-htm.js";
import { CandlestickSeries, HistogramSeries, createChart } from "../vendor/lightweight-charts.js";

/** @typedef {import("../candles.js").Bar} Bar */

const DAY_S = 86_400;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/**
 * @param {{bars: Bar[], width: number, subject: string, theme: string, tick: number}} props
 *   `subject` names what is drawn; another one fits the view again.
 */
export function Chart({ bars, width, subject, theme, tick }) {
  const holder = useRef(/** @type {HTMLElement | null} */ (null));
  const drawn = useRef(/** @type {Drawing | null} */ (null));
  useEffect(() => {
    const drawing = new Drawing(/** @type {HTMLElement} */ (holder.current));
    drawn.current = drawing;
    return () => drawing.chart.remove();
  }, []);
  useEffect(() => drawn.current?.paint(), [theme]);
  useEffect(() => drawn.current?.show(bars, width, subject, tick), [bars, width, subject, tick]);
  const last = bars.at(-1);
  const said = last
    ? `${bars.length} candles; the last: open ${integer(last.open)}, high ${integer(last.high)}, low ${integer(last.low)}, close ${integer(last.close)} nano$/CU, volume ${mflop(last.volume)}`
    : "no candle yet";
  return html`<div class="chart" ref=${holder} role="img" aria-label="Candles of ${subject}: ${said}"></div>`;
}

class Drawing {
  /** @param {HTMLElement} holder */
  constructor(holder) {
    this.holder = holder;
    this.subject = "";
    this.width = 0;
    /** @type {Bar[]} */
    this.bars = [];
    // The logo brings an inline style sheet, which our policy refuses: the notice stands below the chart.
    this.chart = createChart(holder, {
      autoSize: true,
      layout: { attributionLogo: false, background: { color: "transparent" }, panes: { enableResize: false } },
      localization: { timeFormatter: (/** @type {number} */ time) => moment(time, this.width) },
      timeScale: {
        timeVisible: true,
        secondsVisible: true,
        tickMarkFormatter: (/** @type {number} */ time) => moment(time, this.width),
      },
      handleScroll: { vertTouchDrag: false },
    });
    this.prices = this.chart.addSeries(CandlestickSeries, {});
    this.volumes = this.chart.addSeries(HistogramSeries, {
      priceScaleId: "volume",
      priceFormat: { type: "custom", formatter: mflop, minMove: 1 },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.prices.priceScale().applyOptions({ scaleMargins: { top: 0.08, bottom: 0.26 } });
    this.volumes.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.paint();
  }

  /** Take the page's colours. */
  paint() {
    const [text, line, up, down, upSoft, downSoft, surface] = colours(this.holder, [
      "--muted", "--line-soft", "--bid", "--ask", "--bid-level", "--ask-level", "--surface",
    ]);
    const style = getComputedStyle(this.holder);
    this.soft = { up: upSoft, down: downSoft };
    this.chart.applyOptions({
      layout: { textColor: text, fontFamily: style.fontFamily, fontSize: Math.round(parseFloat(style.fontSize)) },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      rightPriceScale: { borderColor: line },
      timeScale: { borderColor: line },
    });
    // Candles that rose are hollow, those that fell are filled: not by colour alone.
    this.prices.applyOptions({
      upColor: surface, borderUpColor: up, wickUpColor: up,
      downColor: down, borderDownColor: down, wickDownColor: down,
      priceLineColor: text,
    });
    this.volumes.setData(this.bars.map((bar) => this.#volume(bar)));
  }

  /**
   * @param {Bar[]} bars
   * @param {number} width seconds
   * @param {string} subject
   * @param {number} tick
   */
  show(bars, width, subject, tick) {
    const before = this.bars;
    const fresh = subject !== this.subject || width !== this.width;
    this.bars = bars;
    this.subject = subject;
    this.width = width;
    if (fresh) {
      this.prices.applyOptions({ priceFormat: { type: "custom", formatter: price, minMove: tick || 1 } });
      this.chart.applyOptions({ timeScale: { secondsVisible: width < 60, rightOffset: 3 } });
    }
    const from = fresh ? -1 : firstChange(before, bars);
    if (from < 0) {
      this.prices.setData(bars.map((bar) => ({ ...bar })));
      this.volumes.setData(bars.map((bar) => this.#volume(bar)));
      if (fresh) this.chart.timeScale().setVisibleLogicalRange({ from: bars.length - 60, to: bars.length + 3 });
      return;
    }
    for (const bar of bars.slice(from)) {
      this.prices.update({ ...bar });
      this.volumes.update(this.#volume(bar));
    }
  }

  /** @param {Bar} bar */
  #volume(bar) {
    return { time: bar.time, value: bar.volume, color: bar.close >= bar.open ? this.soft?.up : this.soft?.down };
  }
}

/**
 * Where new bars begin to differ, if that is at the last one known or behind it; else -1.
 * @param {Bar[]} before
 * @param {Bar[]} bars
 */
function firstChange(before, bars) {
  const last = before.length - 1;
  if (last < 0 || bars.length < before.length) return -1;
  const same = before.every((bar, i) => i === last || (bar.time === bars[i].time && bar.volume === bars[i].volume));
  return same && before[last].time === bars[last].time ? last : -1;
}

/** @param {number} value */
function price(value) {
  return integer(Math.round(value));
}

/**
 * A time on the axis, local.
 * @param {number} time seconds since the epoch
 * @param {number} width of a candle, seconds
 */
function moment(time, width) {
  const date = new Date(time * 1000);
  const day = `${date.getDate()} ${MONTHS[date.getMonth()]}`;
  if (width >= DAY_S) return day;
  const [clock] = timeOfDay(BigInt(time) * 1_000_000_000n);
  return width >= 3600 ? `${day} ${clock.slice(0, 5)}` : width >= 60 ? clock.slice(0, 5) : clock;
}

/**
 * Colours of the style sheet as the canvas takes them.
 * @param {HTMLElement} holder
 * @param {string[]} names
 */
function colours(holder, names) {
  const probe = document.createElement("span");
  holder.append(probe);
  const found = names.map((name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  });
  probe.remove();
  return found;
}

// @ts-check
/** The instruments as buttons; arrow keys move between them. */

import { NONE, integer, mflop, percent } from "../format.js";
import { spread } from "../store.js";
import { Arrow, Empty, Panel, Spark } from "../ui.js";
import { html, useRef } from "../vendor/preact-htm.js";

/** @typedef {import("../store.js").Instrument} Instrument */
/** @typedef {import("../store.js").Store} Store */
/** @typedef {import("../day.js").Day} Day */

const SPARK_POINTS = 40;

/**
 * @param {{store: Store, chosen: Instrument | null, days: Map<string, Day>, choose: (name: string) => void}} props
 */
export function Instruments({ store, chosen, days, choose }) {
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const overview = store.overview;
  const shown = overview?.instruments ?? [];
  const more = (overview?.instruments_total ?? 0) - shown.length;

  const move = (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    const buttons = [.../** @type {HTMLElement} */ (list.current).querySelectorAll("button")];
    const at = buttons.indexOf(/** @type {any} */ (document.activeElement));
    const next = buttons[at + step];
    if (at < 0 || next === undefined) return;
    event.preventDefault();
    next.focus();
    next.click();
  };

  return html`
    <${Panel} id="instruments" title="Instruments" kind="instruments" aside=${html`<p class="unit">last, nano$/CU</p>`}>
      <ul class="instrument-list" ref=${list} onKeyDown=${move}>
        ${shown.map((one) => html`
          <li key=${one.instrument_id}>
            <${Row} store=${store} instrument=${one} day=${days.get(one.name)}
              chosen=${one.instrument_id === chosen?.instrument_id} choose=${choose} />
          </li>
        `)}
      </ul>
      ${overview !== null && !shown.length && html`<${Empty}>No instruments yet. The operator enters them.<//>`}
      ${more > 0 && html`<${Empty}>and ${integer(more)} more<//>`}
    <//>
  `;
}

/**
 * @param {{store: Store, instrument: Instrument, day: Day | undefined, chosen: boolean, choose: (name: string) => void}} props
 */
function Row({ store, instrument, day, chosen, choose }) {
  const [head, ...rest] = instrument.name.split("/");
  const trades = store.newest(instrument.instrument_id, SPARK_POINTS).reverse();
  const last = instrument.last_price_nanos;
  return html`
    <button type="button" class="instrument" aria-current=${chosen ? "true" : null}
      onClick=${() => choose(instrument.name)}>
      <span class="instrument-model">${head}</span>
      <span class="instrument-price">${last ? integer(last) : NONE}<${Arrow} move=${trades.at(-1)?.move ?? 0} /></span>
      <span class="instrument-about">${[...rest, ...facts(instrument)].join(" · ")}</span>
      <${Spark} values=${trades.map((trade) => trade.price_nanos)} />
      <span class="instrument-day">${dayLine(instrument, day)}</span>
    </button>
  `;
}

/** @param {Instrument} instrument */
function facts(instrument) {
  const parts = [];
  if (instrument.settlement === "paper") parts.push("paper");
  if (instrument.state !== "open") parts.push(`‖ ${instrument.state}`);
  return parts;
}

/**
 * @param {Instrument} instrument
 * @param {Day | undefined} day
 */
function dayLine(instrument, day) {
  const width = spread(instrument);
  const parts = [`spread ${width !== null && width.nanos > 0 ? percent(width.share) : NONE}`];
  if (day) {
    parts.push(`24 h ${mflop(day.volume_mflop)}`);
    parts.push(`index ${day.index_nanos === null ? NONE : integer(day.index_nanos)}`);
  }
  return parts.join(" · ");
}

// @ts-check
/** Trades as they happen, newest first. */

import { column, integer, timeOfDay } from "../format.js";
import { useTopics } from "../observe.js";
import { Arrow, Choice, Empty, Panel, Table } from "../ui.js";
import { html, useState } from "../vendor/preact-htm.js";

/** @typedef {import("../store.js").SeenTrade} SeenTrade */

const ROWS = 60;
/** @type {Record<string, string>} */
const TAKERS = { bid: "▲ bid", ask: "▼ ask", none: "batch" };

/** @param {{page: import("../app.js").Page}} props */
export function Tape({ page }) {
  useTopics(page.market.topic);
  const { store, instrument } = page;
  const [scope, setScope] = useState("one");
  const all = scope === "all";
  const trades = instrument ? store.newest(all ? null : instrument.instrument_id, ROWS) : [];
  // Of the typical trade, so that one column has one unit.
  const sizes = trades.map(({ quantity_mflop }) => Number(quantity_mflop)).sort((a, b) => a - b);
  const unit = column(100 * (sizes[sizes.length >> 1] ?? 0));
  const aside = html`
    <${Choice} label="Whose trades" name="scope" value=${scope} choose=${setScope}
      options=${[["one", "This"], ["all", "All"]]} />
  `;
  return html`
    <${Panel} id="trades" title="Trades" kind="trades" aside=${aside} scroll>
      ${trades.length
        ? html`<${Table} kind=${`tape tape-${scope}`} label="Trades, newest first" heads=${heads(all, unit.name)}
            rows=${trades.map((trade) => html`<${Row} key=${trade.key} trade=${trade} quantity=${unit.format}
              name=${all ? store.nameOf(trade.instrument_id) : ""} />`)} />`
        : html`<${Empty}>No trades yet: one appears when a bid meets an ask.<//>`}
    <//>
  `;
}

/**
 * @param {boolean} all
 * @param {string} unit of quantities
 */
function heads(all, unit) {
  const figures = [["Price", "", "nano$/CU"], ["Quantity", "", unit]];
  return all
    ? [["Time", "left"], ["Instrument", "left"], ...figures]
    : [["Time", "left"], ...figures, ["Taker", "left"]];
}

/** @param {{trade: SeenTrade, name: string, quantity: (value: any) => string}} props */
function Row({ trade, name, quantity }) {
  const [clock, milliseconds] = timeOfDay(trade.event_time_ns);
  return html`
    <tr>
      <td class="left muted">${clock}<span class="milliseconds">${milliseconds}</span></td>
      ${name && html`<td class="left wide" title=${name}>${name}</td>`}
      <td class="strong">${integer(trade.price_nanos)}<${Arrow} move=${trade.move} /></td>
      <td>${quantity(trade.quantity_mflop)}</td>
      ${!name && html`<td class="left taker ${trade.taker_side}">${TAKERS[trade.taker_side]}</td>`}
    </tr>
  `;
}

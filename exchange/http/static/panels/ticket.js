// @ts-check
/** The order ticket of a continuous book. */

import { ApiError, freshId } from "../api.js";
import { NONE, integer, mflop, mflopOf, money, words } from "../format.js";
import { Choice, Empty, Field, Panel, Select } from "../ui.js";
import { html, useEffect, useState } from "../vendor/preact-htm.js";

/** @typedef {import("../app.js").Page} Page */
/** @typedef {import("../market.js").LiveBook} LiveBook */

const SIDES = [["SIDE_BID", "▲ Bid"], ["SIDE_ASK", "▼ Ask"]];
const TYPES = [["ORDER_TYPE_LIMIT", "Limit"], ["ORDER_TYPE_MARKET", "Market"]];
const TIMES = [
  ["TIME_IN_FORCE_GTC", "GTC · rests"],
  ["TIME_IN_FORCE_IOC", "IOC · now"],
  ["TIME_IN_FORCE_FOK", "FOK · whole"],
];

/**
 * @param {{page: Page, book: LiveBook | null, picked: {price: number, count: number}, placed: () => void, signIn: () => void}} props
 */
export function Ticket({ page, book, picked, placed, signIn }) {
  const { session } = page;
  let why = null;
  if (book === null) why = "No instrument to trade yet.";
  else if (book.mode === "batch") why = html`Jobs bid here, workers ask: <a href="#/console">ask a question</a> to see your own bid enter the book.`;
  else if (session.account === null) why = html`<button type="button" onClick=${signIn}>Sign in</button> to place orders.`;
  else if (!session.may("trader")) why = "This key may not trade: it needs the role trader.";
  else if (book.settlement === "paper" && !session.account.paper) why = "A paper book is for paper accounts, and this account is real.";
  else if (book.settlement !== "paper" && session.account.paper) why = "This book is for real accounts, and this account is paper.";
  return html`
    <${Panel} id="ticket" title="Order ticket" kind="ticket">
      ${why !== null ? html`<${Empty}>${why}<//>` : html`<${Form} page=${page} book=${book} picked=${picked} placed=${placed} />`}
    <//>
  `;
}

/** @param {{page: Page, book: LiveBook, picked: {price: number, count: number}, placed: () => void}} props */
function Form({ page, book, picked, placed }) {
  const [side, setSide] = useState(SIDES[0][0]);
  const [type, setType] = useState(TYPES[0][0]);
  const [time, setTime] = useState(TIMES[0][0]);
  const [price, setPrice] = useState("");
  const [quantity, setQuantity] = useState("");
  const [said, setSaid] = useState({ good: true, text: "" });
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    if (picked.count) setPrice(String(picked.price));
  }, [picked.count]);
  const market = type === "ORDER_TYPE_MARKET";
  const size = mflopOf(quantity);
  const cost = size !== null && /^\d+$/.test(price) && !market ? (BigInt(price) * size + 999_999n) / 1_000_000n : null;

  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (size === null) {
      setSaid({ good: false, text: "A quantity is a number of CU with at most six decimals." });
      return;
    }
    setBusy(true);
    try {
      const order = {
        client_order_id: freshId(),
        instrument_id: book.instrument_id,
        side,
        order_type: type,
        time_in_force: market ? "TIME_IN_FORCE_IOC" : time,
        price_nanos: market ? "0" : price,
        quantity_mflop: String(size),
      };
      const { reports } = await page.api.post("/v1/orders", { order });
      setSaid(outcome(reports));
      placed();
      page.session.refresh().catch(() => {});
    } catch (error) {
      setSaid({ good: false, text: /** @type {ApiError} */ (error).message });
    }
    setBusy(false);
  };
  const typed = (/** @type {(text: string) => void} */ set) => (/** @type {any} */ event) => set(event.target.value);
  return html`
    <form class="form ticket-form" onSubmit=${submit}>
      <${Choice} label="Side" name="side" value=${side} choose=${setSide} options=${SIDES} />
      <div class="pair">
        <${Field} label="Price, nano$/CU">
          <input inputmode="numeric" pattern="[0-9]+" autocomplete="off" name="price" value=${market ? "" : price} disabled=${market}
            placeholder=${market ? "the best" : ""} required=${!market} onInput=${typed(setPrice)} />
        <//>
        <${Field} label="Quantity, CU">
          <input inputmode="decimal" autocomplete="off" name="quantity" value=${quantity} required onInput=${typed(setQuantity)} />
        <//>
      </div>
      <div class="pair">
        <${Field} label="Type">
          <${Select} name="type" value=${type} options=${TYPES} choose=${setType} />
        <//>
        <${Field} label="Works">
          <${Select} name="time" value=${market ? TIMES[1][0] : time} options=${TIMES} choose=${setTime} disabled=${market} />
        <//>
      </div>
      <p class="ticket-sum"><span>${side === "SIDE_BID" ? "Costs at most" : "Brings at least"}</span><strong>${cost === null ? NONE : money(cost)}</strong></p>
      <button type="submit" class="primary ${side === "SIDE_BID" ? "" : "ask"}" disabled=${busy}>
        ${side === "SIDE_BID" ? "▲ Place bid" : "▼ Place ask"}
      </button>
      <p class=${said.good ? "said" : "error"} role="status">${said.text && `${said.good ? "✓" : "✕"} ${said.text}`}</p>
    </form>
  `;
}

/** What became of an order, by its reports. @param {any[]} reports */
function outcome(reports = []) {
  const last = reports.at(-1) ?? {};
  const rejected = reports.find(({ execution_type }) => execution_type === "EXECUTION_TYPE_REJECTED");
  if (rejected) return { good: false, text: `Refused: ${words(rejected.reason, "REASON_")}` };
  const fills = reports.filter(({ execution_type }) => execution_type === "EXECUTION_TYPE_TRADE");
  const filled = fills.reduce((sum, { quantity_mflop }) => sum + BigInt(quantity_mflop ?? 0), 0n);
  const state = words(last.state, "ORDER_STATE_");
  const at = fills.length ? ` at ${integer(fills.at(-1).price_nanos)}` : "";
  return { good: true, text: `Order ${last.order_id} is ${state}${filled ? `: ${mflop(filled)}${at}` : ""}` };
}

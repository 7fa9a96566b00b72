// @ts-check
/** One's own open orders and waiting jobs, with a way out of each. */

import { integer, mflop, percent, words } from "../format.js";
import { usePolled } from "../polled.js";
import { share } from "../store.js";
import { Empty, Panel, State, Table } from "../ui.js";
import { html, useState } from "../vendor/preact-htm.js";

/** @typedef {import("../app.js").Page} Page */

/**
 * The open orders of whoever is signed in, and where they stand in the ladder that is looked at.
 * @param {Page} page
 */
export function useOwnOrders(page) {
  const trader = page.session.may("trader", "reader");
  const { value, error, refresh } = usePolled(page, () => page.api.get("/v1/orders"), [], trader);
  /** @type {any[]} */
  const orders = value?.orders ?? [];
  const here = page.instrument?.instrument_id;
  /** @type {Map<string, string>} */
  const own = new Map();
  for (const order of orders) {
    if (order.instrument_id !== here) continue;
    const at = `${order.side === "SIDE_BID" ? "bid" : "ask"}/${order.price_nanos}`;
    const before = own.get(at);
    own.set(at, `${before ? `${before}, ` : ""}${mflop(order.leaves_mflop)}`);
  }
  return { orders, own, error, refresh, known: value !== null };
}

/** @param {{page: Page, orders: ReturnType<typeof useOwnOrders>, signIn: () => void}} props */
export function Orders({ page, orders, signIn }) {
  const [said, setSaid] = useState("");
  const act = async (/** @type {() => Promise<any>} */ call) => {
    try {
      await call();
      setSaid("");
    } catch (error) {
      setSaid(/** @type {Error} */ (error).message);
    }
    orders.refresh();
    page.session.refresh().catch(() => {});
  };
  const list = orders.orders;
  const aside = list.length > 0 && html`
    <button type="button" onClick=${() => act(() => page.api.post("/v1/orders/cancel", { orders: {} }))}>Cancel all</button>
  `;
  return html`
    <${Panel} id="orders" title="Your orders" kind="orders" aside=${aside} scroll>
      ${said && html`<p class="error" role="alert">✕ ${said}</p>`}
      ${page.session.account === null
        ? html`<${Empty}><button type="button" onClick=${signIn}>Sign in</button> to see your orders.<//>`
        : !list.length
          ? html`<${Empty}>${orders.error || (orders.known ? "No open orders." : "…")}<//>`
          : html`<${Table} kind="own-orders" label="Your open orders"
              heads=${[["Instrument", "left"], ["Side", "left"], ["Price", "", "nano$/CU"], ["Open"], ["Filled"], ["State", "left"], [""]]}
              rows=${list.map((order) => html`<${Row} key=${order.order_id} page=${page} order=${order}
                cancel=${() => act(() => page.api.call("DELETE", `/v1/orders/${order.order_id}`))} />`)} />`}
    <//>
  `;
}

/** @param {{page: Page, order: any, cancel: () => void}} props */
function Row({ page, order, cancel }) {
  const bid = order.side === "SIDE_BID";
  const filled = BigInt(order.quantity_mflop ?? 0) - BigInt(order.leaves_mflop ?? 0);
  const name = order.legs?.length ? `${order.legs.length} legs` : page.store.nameOf(order.instrument_id);
  return html`
    <tr>
      <td class="left">${name}</td>
      <td class="left ${bid ? "bid" : "ask"}">${bid ? "▲ bid" : "▼ ask"}</td>
      <td class="strong">${integer(order.price_nanos ?? 0)}</td>
      <td>${mflop(order.leaves_mflop ?? 0)}</td>
      <td>${percent(share(Number(filled), Number(order.quantity_mflop)))}</td>
      <td class="left"><${State} state=${words(order.state, "ORDER_STATE_")} /></td>
      <td><button type="button" class="small" onClick=${cancel} aria-label="Cancel order ${order.order_id}">Cancel</button></td>
    </tr>
  `;
}

// @ts-check
/** The account: money, its ledger, its keys, its past orders. */

import { fullMoney, integer, mflop, money, plural, timeOfDay, words } from "../format.js";
import { useTopics } from "../observe.js";
import { usePolled } from "../polled.js";
import { Empty, Figure, Panel, State, Table } from "../ui.js";
import { html, useEffect } from "../vendor/preact-htm.js";

/** @typedef {import("../app.js").Page} Page */

const PAGE_SIZE = 50;

/** @param {{page: Page, signIn: () => void}} props */
export function AccountView({ page, signIn }) {
  useTopics(page.heard, page.session.topic);
  const ledger = usePolled(page, () => page.api.get("/v1/ledger", { page_size: PAGE_SIZE }), []);
  const keys = usePolled(page, () => page.api.get("/v1/keys"), []);
  const past = usePolled(page, () => page.api.get("/v1/orders/history", { page_size: PAGE_SIZE }), [], page.session.may("trader", "reader"));
  const account = page.session.account;
  const sequence = ledger.value?.sequence;
  useEffect(() => {
    page.session.refresh().catch(() => {});
  }, [sequence]);
  if (account === null) {
    return html`
      <h1 class="hidden">Account</h1>
      <${Panel} id="account" title="Account"><${Empty}><button type="button" onClick=${signIn}>Sign in</button> to see your money, its ledger and your keys.<//><//>
    `;
  }
  const aside = html`<button type="button" id="sign-out" onClick=${() => page.session.signOut()}>Sign out</button>`;
  return html`
    <h1 class="hidden">Account</h1>
    <${Panel} id="account" title=${account.name} kind="account" aside=${aside}>
      <dl class="figures">
        <${Figure} name="Available" value=${money(account.available_nanos)} about=${account.paper ? "paper money" : "to spend"} />
        <${Figure} name="Held" value=${money(account.pending_nanos)} about="by open bids and leases" />
        <${Figure} name="Balance" value=${money(account.balance_nanos)} about=${account.halted ? "✕ halted by the operator" : `account ${account.account_id}`} alarm=${account.halted} />
        <${Figure} name="Open" value=${integer(account.open_jobs)} unit=${account.open_jobs === 1 ? "job" : "jobs"} about=${plural(account.open_orders, "order", "orders")} />
      </dl>
      ${account.positions?.length > 0 && html`<p class="positions">Paper positions: ${account.positions
        .map(({ instrument_id, quantity_mflop }) => `${page.store.nameOf(instrument_id)} ${mflop(quantity_mflop)}`).join(" · ")}</p>`}
    <//>
    <${Panel} id="ledger" title="Ledger" kind="ledger" aside=${html`<p class="unit">newest first</p>`} scroll>
      ${ledger.value?.entries?.length
        ? html`<${Table} label="Ledger entries, newest first" heads=${[["Time", "left"], ["What", "left"], ["Reference", "left"], ["Amount"]]}
            rows=${ledger.value.entries.map((/** @type {any} */ entry) => html`<${Entry} key=${`${entry.sequence}/${entry.reference_id}/${entry.credit_account_id}`} entry=${entry} account=${account.account_id} />`)} />`
        : html`<${Empty}>${ledger.error || "No entries yet."}<//>`}
    <//>
    <${Panel} id="keys" title="Keys" kind="keys-panel" scroll>
      ${keys.value?.keys?.length
        ? html`<${Table} label="API keys" heads=${[["Key", "left"], ["Label", "left"], ["Roles", "left"]]}
            rows=${keys.value.keys.map((/** @type {any} */ key) => html`
              <tr key=${key.key_id}><td class="left"><code>${key.key_id}…</code></td><td class="left">${key.label || "–"}</td><td class="left">${(key.roles ?? []).join(", ")}</td></tr>
            `)} />`
        : html`<${Empty}>${keys.error || "…"}<//>`}
    <//>
    ${past.value?.orders?.length > 0 && html`
      <${Panel} id="past-orders" title="Past orders" kind="past" scroll>
        <${Table} label="Past orders, newest first"
          heads=${[["Time", "left"], ["Instrument", "left"], ["Side", "left"], ["Price", "", "nano$/CU"], ["Filled"], ["State", "left"]]}
          rows=${past.value.orders.map((/** @type {any} */ order) => html`<${Past} key=${order.order_id} page=${page} order=${order} />`)} />
      <//>
    `}
  `;
}

/** @param {{entry: any, account: number}} props */
function Entry({ entry, account }) {
  const got = entry.credit_account_id === account;
  const reference = entry.reference_id === "0" ? "–" : entry.reference_id;
  const kind = words(entry.kind, "ENTRY_KIND_");
  return html`
    <tr>
      <td class="left muted">${timeOfDay(entry.event_time_ns)[0]}</td>
      <td class="left">${kind}</td>
      <td class="left">${reference === "–" ? reference : `${kind} ${reference}`}</td>
      <td class="strong ${got ? "good" : ""}">${got ? "+" : "−"}${fullMoney(entry.amount_nanos)}</td>
    </tr>
  `;
}

/** @param {{page: Page, order: any}} props */
function Past({ page, order }) {
  const bid = order.side === "SIDE_BID";
  return html`
    <tr>
      <td class="left muted">${timeOfDay(order.create_time_ns)[0]}</td>
      <td class="left">${page.store.nameOf(order.instrument_id)}</td>
      <td class="left ${bid ? "bid" : "ask"}">${bid ? "▲ bid" : "▼ ask"}</td>
      <td class="strong">${Number(order.price_nanos) ? integer(order.price_nanos) : "market"}</td>
      <td>${mflop(order.filled_mflop)} of ${mflop(order.quantity_mflop)}</td>
      <td class="left"><${State} state=${words(order.state, "ORDER_STATE_")} /></td>
    </tr>
  `;
}

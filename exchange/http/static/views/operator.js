// @ts-check
/** What the operator watches and may stop: invariants, journal, instruments, accounts, workers. */

import { fullMoney, integer, money, plural } from "../format.js";
import { useTopics } from "../observe.js";
import { Confirm } from "../panels/confirm.js";
import { Workers } from "../panels/workers.js";
import { usePolled } from "../polled.js";
import { Empty, Figure, Panel, State, Table } from "../ui.js";
import { html, useState } from "../vendor/preact-htm.js";

/** @typedef {import("../app.js").Page} Page */
/** @typedef {import("../panels/confirm.js").Intent} Intent */

/** Accounts that stand for the world outside: where deposits come from. */
const OUTSIDE = /^external/;

/** @param {{page: Page}} props */
export function OperatorView({ page }) {
  useTopics(page.heard, page.session.topic);
  const [intent, setIntent] = useState(/** @type {Intent | null} */ (null));
  const accounts = usePolled(page, () => page.api.get("/v1/admin/accounts"), []);
  const invariants = usePolled(page, () => page.api.get("/v1/admin/invariants"), []);
  // Who may only read sees all, and stops nothing.
  const mayAct = page.session.may("operator");
  const after = (/** @type {Promise<any>} */ call) => call.then(() => accounts.refresh());
  return html`
    <h1 class="hidden">Operator</h1>
    <${Invariants} page=${page} found=${invariants.value} error=${invariants.error} />
    <${Halts} page=${page} mayAct=${mayAct} ask=${setIntent} />
    <${Panel} id="accounts" title="Accounts" kind="accounts" aside=${html`<p class="unit">${plural(accounts.value?.accounts?.length ?? 0, "account", "accounts")}</p>`} scroll>
      ${accounts.value?.accounts?.length
        ? html`<${Table} kind="rows" label="Accounts" heads=${[["Account", "left"], ["State", "left"], ["Balance"], ["Held"], ["Open"], ...(mayAct ? [["", "left"]] : [])]}
            rows=${accounts.value.accounts.map((/** @type {any} */ one) => html`<${Account} key=${one.account_id} account=${one} mayAct=${mayAct}
              ask=${() => setIntent(haltOf(page, one, after))} />`)} />`
        : html`<${Empty}>${accounts.error || "…"}<//>`}
    <//>
    <${Workers} store=${page.store} actions=${mayAct ? (/** @type {any} */ worker) => html`<${WorkerActions} page=${page} worker=${worker} ask=${setIntent} />` : undefined} />
    ${intent !== null && html`<${Confirm} intent=${intent} close=${() => setIntent(null)} />`}
  `;
}

/** @param {{page: Page, found: any, error: string}} props */
function Invariants({ page, found, error }) {
  const [full, setFull] = useState({ busy: false, text: "", good: true });
  const check = async () => {
    setFull({ busy: true, text: "", good: true });
    try {
      const { failure, digest } = await page.api.get("/v1/admin/invariants", { full: true });
      const text = failure || `every structure's check holds; digest ${hex(digest).slice(0, 16)}`;
      setFull({ busy: false, text, good: !failure });
    } catch (failure) {
      setFull({ busy: false, text: /** @type {Error} */ (failure).message, good: false });
    }
  };
  const zero = (/** @type {any} */ value) => BigInt(value ?? 0) === 0n;
  const journal = page.store.overview?.journal_records ?? 0;
  const aside = html`<button type="button" disabled=${full.busy} onClick=${check}>${full.busy ? "Checking …" : "Check everything now"}</button>`;
  return html`
    <${Panel} id="invariants" title="Invariants" kind="invariants" aside=${aside}>
      ${found === null ? html`<${Empty}>${error || "…"}<//>` : html`
        <dl class="figures">
          <${Figure} name="Ledger sum" value=${money(found.ledger_imbalance_nanos)} alarm=${!zero(found.ledger_imbalance_nanos)}
            about=${zero(found.ledger_imbalance_nanos) ? "✓ balanced" : "✕ does not balance"} />
          <${Figure} name="Billed above any budget" value=${money(found.overspend_nanos)} alarm=${!zero(found.overspend_nanos)}
            about=${zero(found.overspend_nanos) ? "✓ never" : "✕ must not be"} />
          <${Figure} name="Journal" value=${integer(journal)} unit="records" about="epoch ${found.epoch}" />
          <${Lag} page=${page} />
          <${Figure} name="Open" value=${integer(found.open_jobs)} unit="jobs" about="${plural(found.open_leases, "lease", "leases")}, ${plural(found.open_orders, "order", "orders")}" />
          <${Figure} name="Jobs ended" value=${integer(found.jobs_settled)} unit="settled" about="${integer(found.jobs_failed)} otherwise" />
        </dl>
        <p class=${full.good ? "said check-said" : "error check-said"} role="status">${full.text && `${full.good ? "✓" : "✕"} ${full.text}`}</p>
      `}
    <//>
  `;
}

/** How far the queries' tables are behind the journal. @param {{page: Page}} props */
function Lag({ page }) {
  const { value, error } = usePolled(page, () => page.api.get("/v1/ledger", { page_size: 1 }), []);
  const head = BigInt(page.store.overview?.sequence ?? 0);
  const at = BigInt(value?.sequence ?? 0);
  const lag = value === null ? null : head > at ? head - at : 0n;
  return html`<${Figure} name="Read model behind" value=${lag === null ? "–" : integer(lag)} unit="records" about=${error || "journal less the queries' tables"} />`;
}

/** @param {{page: Page, mayAct: boolean, ask: (intent: Intent) => void}} props */
function Halts({ page, mayAct, ask }) {
  const instruments = page.store.overview?.instruments ?? [];
  return html`
    <${Panel} id="halts" title="Instruments" kind="halts" scroll>
      ${instruments.length
        ? html`<${Table} kind="rows" label="Instruments and their states" heads=${[["Instrument", "left"], ["Trading", "left"], ["State", "left"], ...(mayAct ? [["", "left"]] : [])]}
            rows=${instruments.map((one) => html`
              <tr key=${one.instrument_id}>
                <td class="left">${one.name}</td>
                <td class="left">${one.settlement === "paper" ? "paper, " : ""}${one.mode}</td>
                <td class="left"><${State} state=${one.state} /></td>
                ${mayAct && html`<td><button type="button" class="small" onClick=${() => ask(stateOf(page, one))}>
                  ${one.state === "open" ? "Halt" : "Resume"}<span class="hidden"> ${one.name}</span></button></td>`}
              </tr>
            `)} />`
        : html`<${Empty}>No instruments yet.<//>`}
    <//>
  `;
}

/** @param {{account: any, mayAct: boolean, ask: () => void}} props */
function Account({ account, mayAct, ask }) {
  return html`
    <tr>
      <td class="left">${account.name}<small>${account.paper ? "paper" : ""}</small></td>
      <td class="left"><${State} state=${account.halted ? "halted" : "open"} /></td>
      <td>${fullMoney(account.balance_nanos)}</td>
      <td>${fullMoney(account.pending_nanos)}</td>
      <td>${plural(account.open_jobs, "job", "jobs")}, ${plural(account.open_orders, "order", "orders")}</td>
      ${mayAct && html`<td>${!OUTSIDE.test(account.name) && html`<button type="button" class="small" onClick=${ask}>
        ${account.halted ? "Resume" : "Halt"}<span class="hidden"> ${account.name}</span></button>`}</td>`}
    </tr>
  `;
}

/** @param {{page: Page, worker: any, ask: (intent: Intent) => void}} props */
function WorkerActions({ page, worker, ask }) {
  const set = (/** @type {string} */ action) => page.api.post(`/v1/admin/workers/${worker.worker_id}`, { action });
  const paused = worker.state === "paused";
  const [verb, action, text] = paused
    ? ["Resume", "WORKER_ACTION_RESUME", `${worker.name} will be given leases again.`]
    : ["Pause", "WORKER_ACTION_PAUSE", `${worker.name} will be given no new lease. What it runs goes on.`];
  return html`
    <button type="button" class="small"
      onClick=${() => ask({ title: `${verb} worker ${worker.name}?`, text, verb, danger: !paused, act: () => set(action) })}>
      ${verb}<span class="hidden"> ${worker.name}</span></button>
  `;
}

/**
 * @param {Page} page
 * @param {import("../store.js").Instrument} instrument
 * @returns {Intent}
 */
function stateOf(page, instrument) {
  const halt = instrument.state === "open";
  const state = halt ? "TRADING_STATE_HALTED" : "TRADING_STATE_OPEN";
  return {
    title: `${halt ? "Halt" : "Resume"} ${instrument.name}?`,
    text: halt ? "It will take cancels only: nothing trades until it is resumed." : "It trades again, after its re-opening auction if it has one.",
    verb: halt ? "Halt" : "Resume",
    danger: halt,
    act: () => page.api.post("/v1/admin/instruments/state", { instrument: instrument.name, state }),
  };
}

/**
 * @param {Page} page
 * @param {any} account
 * @param {(call: Promise<any>) => Promise<any>} after
 * @returns {Intent}
 */
function haltOf(page, account, after) {
  const halted = !account.halted;
  return {
    title: `${halted ? "Halt" : "Resume"} account ${account.name}?`,
    text: halted ? "It can place no orders and submit no jobs until it is resumed." : "It can trade again.",
    verb: halted ? "Halt" : "Resume",
    danger: halted,
    act: () => after(page.api.post("/v1/admin/halts", { account: account.name, halted })),
  };
}

/** @param {string | undefined} base64 */
function hex(base64) {
  return [...atob(base64 ?? "")].map((char) => char.charCodeAt(0).toString(16).padStart(2, "0")).join("");
}

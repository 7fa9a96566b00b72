// @ts-check
/** What is around every view: name, navigation, connection, theme, who is signed in. */

import { duration, money } from "./format.js";
import { useTopics } from "./observe.js";
import { SignIn } from "./panels/sign-in.js";
import { Shortcuts, useShortcuts } from "./panels/shortcuts.js";
import { VIEWS } from "./route.js";
import { AccountView } from "./views/account.js";
import { ConsoleView } from "./views/console.js";
import { JobsView } from "./views/jobs.js";
import { MarketView } from "./views/market.js";
import { OperatorView } from "./views/operator.js";
import { WorkersView } from "./views/workers.js";
import { html, useState } from "./vendor/preact-htm.js";

/** @typedef {import("./app.js").Page} Page */

/** @type {Record<string, any>} */
const SHOWN = {
  market: MarketView,
  console: ConsoleView,
  jobs: JobsView,
  workers: WorkersView,
  account: AccountView,
  operator: OperatorView,
};

/** @param {{page: Page}} props */
export function Shell({ page }) {
  useTopics(page.route.topic, page.session.topic, page.statusTopic);
  const [open, setOpen] = useState("");
  const view = page.route.view;
  const operator = page.session.may("operator", "reader");
  const views = VIEWS.filter(([name]) => name !== "operator" || operator);
  useShortcuts((name) => page.route.show(name), views, () => setOpen("shortcuts"));
  const stale = page.status.kind === "stale" || page.status.kind === "offline";
  const name = page.instrument?.name;
  document.title = view === "market" && name ? `${name} · Flopex` : `${views.find(([one]) => one === view)?.[1] ?? "Flopex"} · Flopex`;
  const View = view === "operator" && !operator ? MarketView : SHOWN[view];
  return html`
    <a class="skip" href="#main" onClick=${toMain}>Skip to the content</a>
    <header class="top">
      <a class="brand" href="#/market"><img src="/static/icon.svg" alt="" width="26" height="26" /><span>Flopex</span></a>
      <nav class="views" aria-label="Views">
        ${views.map(([one, title]) => html`
          <a key=${one} href="#/${one}" aria-current=${one === view ? "page" : null}>${title}</a>
        `)}
      </nav>
      <${Connection} page=${page} />
      <${Theme} />
      <button type="button" class="icon wide-only" aria-label="Keyboard shortcuts" title="Keyboard shortcuts" onClick=${() => setOpen("shortcuts")}>?</button>
      <${Who} page=${page} open=${() => setOpen("sign-in")} />
    </header>
    <${Notice} page=${page} />
    <main id="main" class="view view-${view}" tabindex="-1" data-stale=${stale ? "true" : null}>
      <${View} page=${page} signIn=${() => setOpen("sign-in")} />
    </main>
    <${Foot} />
    ${open === "sign-in" && html`<${SignIn} session=${page.session} close=${() => setOpen("")} />`}
    ${open === "shortcuts" && html`<${Shortcuts} views=${views} close=${() => setOpen("")} />`}
  `;
}

/** @param {Event} event */
function toMain(event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

/** @type {Record<string, (status: import("./feed.js").Status) => string>} */
const CONNECTION = {
  connecting: () => "◌ Connecting",
  live: () => "● Live",
  stale: ({ silentS }) => `▲ Stale for ${silentS} s`,
  offline: () => "✕ Offline",
};

/** @param {{page: Page}} props */
function Connection({ page }) {
  useTopics(page.statusTopic);
  const { kind } = page.status;
  return html`<p id="connection" class="pill" role="status" data-kind=${kind}>${CONNECTION[kind](page.status)}</p>`;
}

/** What is wrong and what is done about it. @param {{page: Page}} props */
function Notice({ page }) {
  useTopics(page.statusTopic);
  const { kind, silentS, retryS } = page.status;
  const old = silentS < 0 ? "Nothing was heard yet." : `The figures are ${duration(silentS)} old.`;
  const next = retryS ? `Next try in ${retryS} s.` : "Trying now.";
  let text = "";
  if (kind === "offline") text = `The exchange cannot be reached. ${old} ${next}`;
  else if (kind === "stale") text = `The exchange has fallen silent. ${old}`;
  else if (page.store.overview?.state === "draining") text = "The exchange is draining: it takes no new work.";
  if (!text) return null;
  return html`
    <p id="notice" class="notice" role="alert">
      <span>${text}</span>
      ${kind === "offline" && retryS > 0 && html`<button type="button" onClick=${() => page.feed.retryNow()}>Try now</button>`}
    </p>
  `;
}

const THEMES = [["system", "◐", "as the system"], ["light", "☀", "light"], ["dark", "☾", "dark"]];

function Theme() {
  const kept = document.documentElement.dataset.theme ?? "system";
  const [theme, setTheme] = useState(kept);
  const at = THEMES.findIndex(([name]) => name === theme);
  const next = THEMES[(at + 1) % THEMES.length];
  const choose = () => {
    setTheme(next[0]);
    if (next[0] === "system") {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem("flopex-theme");
    } else {
      document.documentElement.dataset.theme = next[0];
      localStorage.setItem("flopex-theme", next[0]);
    }
    dispatchEvent(new Event("themechange"));
  };
  return html`
    <button type="button" id="theme" class="icon" title="Colours: ${THEMES[at][2]}" onClick=${choose}
      aria-label="Colours: ${THEMES[at][2]}; change to ${next[2]}">${THEMES[at][1]}</button>
  `;
}

/** @param {{page: Page, open: () => void}} props */
function Who({ page, open }) {
  const { session } = page;
  useTopics(session.topic);
  const account = session.account;
  if (account === null) {
    return html`<button type="button" class="primary" id="sign-in-open" onClick=${open}>Sign in</button>`;
  }
  return html`
    <a class="who" href="#/account" title="Available to spend">
      <span class="who-name">${account.name}</span>
      <span class="who-money">${money(account.available_nanos ?? 0)}${account.paper ? " paper" : ""}</span>
    </a>
  `;
}

function Foot() {
  return html`
    <footer class="foot">
      <p>1 CU = 1 TFLOP = 10<sup>12</sup> floating-point operations · prices in nano-dollars per CU (10<sup>−9</sup> $/CU)</p>
      <p>
        <a href="/v1/overview">JSON</a> <a href="/metrics">Metrics</a> <a href="/healthz">Health</a>
      </p>
    </footer>
  `;
}

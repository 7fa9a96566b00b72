// @ts-check
/** The console: a question, what it is worth, and everything that becomes of it. */

import { nearest } from "../depth.js";
import { money, nanosOf } from "../format.js";
import { useTopics } from "../observe.js";
import { Clock } from "../panels/clock.js";
import { Ladder } from "../panels/ladder.js";
import { Story } from "../panels/story.js";
import { Run, ended } from "../run.js";
import { Empty, Field, Panel, Select } from "../ui.js";
import { html, useEffect, useState } from "../vendor/preact-htm.js";

/** @typedef {import("../app.js").Page} Page */

/** Stories that are kept on the page. */
const RUNS_KEPT = 20;
const TOKENS = 48;
const DEADLINE_S = 30;
/** Questions of reasoning suit the adaptive models, prompts suit those of text. */
const EXAMPLES = {
  adaptive: [
    "What is the value of ( False ) or True?",
    "Emil gives it to Hugo. Ann gives it to Greta. Ben gives it to Emil. Hugo gives it to Fritz. Dora gives it to Ben. Fritz gives it to Ann. Dora has the parcel first. Who has it in the end?",
  ],
  text: ["Write one sentence about mountains.", "List three fruits, separated by commas."],
};

/** The runs of this page, newest first: they outlive a look at another view. @type {Run[]} */
const runs = [];

/** @param {{page: Page, signIn: () => void}} props */
export function ConsoleView({ page, signIn }) {
  useTopics(page.heard, page.session.topic, page.market.topic);
  const [, redraw] = useState(0);
  const leased = (page.store.overview?.instruments ?? []).filter(({ settlement }) => settlement === "lease");
  const [way, setWay] = useState("");
  const ways = [...new Set(leased.map(({ name }) => wayOf(name)))];
  const chosen = ways.includes(way) ? way : ways[0] ?? "";
  // The console looks at the book that it bids in, and leaves the market's choice as it was.
  useEffect(() => {
    const before = page.route.instrument;
    return () => page.route.choose(before);
  }, []);
  const ask = (/** @type {import("../run.js").Asked} */ asked) => {
    const run = new Run(page.api, asked);
    runs.unshift(run);
    runs.length = Math.min(runs.length, RUNS_KEPT);
    run.start().then(() => page.session.refresh().catch(() => {}));
    redraw((count) => count + 1);
  };
  return html`
    <h1 class="hidden">Console</h1>
    <${Panel} id="ask" title="Ask" kind="ask-panel">
      ${page.session.account === null
        ? html`<${Empty}><button type="button" onClick=${signIn}>Sign in</button> with a funded key to buy an answer.<//>`
        : !leased.length
          ? html`<${Empty}>No model is traded yet.<//>`
          : html`<${Form} page=${page} ways=${ways} chosen=${chosen} setWay=${setWay} ask=${ask} />`}
    <//>
    <section class="stories" aria-label="Questions, newest first" id="stories">
      ${runs.length
        ? runs.map((run) => html`<${Watched} key=${run.beganAt} run=${run} />`)
        : html`<div class="panel"><${Empty}>Ask something: your bid enters the order book, a worker is leased, tokens stream, and a
            receipt says what was done and what it costs. The rest of what was held comes back.<//></div>`}
    </section>
    <${Beside} page=${page} run=${runs[0]} way=${chosen} />
  `;
}

/** @param {{run: Run}} props */
function Watched({ run }) {
  useTopics(run.topic);
  return html`<div class="panel"><${Story} run=${run} /></div>`;
}

/**
 * The book that the newest question bids in, or that the next one would.
 * @param {{page: Page, run: Run | undefined, way: string}} props
 */
function Beside({ page, run, way }) {
  useTopics(...(run ? [run.topic] : [page.heard]));
  const name = run && !run.over ? bookOf(page, run) : bookOfWay(page, way);
  useEffect(() => {
    if (name) page.route.choose(name);
  }, [name]);
  const { book } = page.market;
  /** @type {Map<string, string>} */
  const own = new Map();
  const at = run && book ? nearest(book.bids, run.bidIn(book.name)) : null;
  if (at !== null) own.set(`bid/${at}`, "your bid");
  if (run?.job && book && !ended(run.job) && Number(run.job.price_nanos) > 0) own.set(`ask/${run.job.price_nanos}`, "your lease");
  return html`
    <${Panel} id="console-book" title=${book?.name ?? "Order book"} kind="ladder" aside=${html`<p class="unit">nano$/CU</p>`}>
      ${book && html`<div class="beside-clock"><${Clock} book=${book} store=${page.store} nowNs=${() => page.nowNs()} /></div>`}
      <${Ladder} book=${book} own=${own} levels=${6} />
    <//>
  `;
}

/**
 * The instrument in which a run bids, or has its lease.
 * @param {Page} page
 * @param {Run} run
 */
function bookOf(page, run) {
  return run.job?.instrument || bookOfWay(page, `${run.asked.model} · ${run.asked.tier}`);
}

/**
 * The first instrument of a model and tier.
 * @param {Page} page
 * @param {string} way
 */
function bookOfWay(page, way) {
  return (page.store.overview?.instruments ?? []).find(({ name }) => wayOf(name) === way)?.name ?? "";
}

/**
 * @param {{page: Page, ways: string[], chosen: string, setWay: (way: string) => void,
 *   ask: (asked: import("../run.js").Asked) => void}} props
 */
function Form({ page, ways, chosen, setWay, ask }) {
  const [text, setText] = useState("");
  const [worth, setWorth] = useState("0.001");
  const [cap, setCap] = useState("");
  const [deadline, setDeadline] = useState(String(DEADLINE_S));
  const [tokens, setTokens] = useState(String(TOKENS));
  const [tell, setTell] = useState(false);
  const [error, setError] = useState("");
  const [model, tier] = chosen.split(" · ");

  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const value = worth.trim() ? nanosOf(worth) : 0n;
    const most = cap.trim() ? nanosOf(cap) : 0n;
    if (!text.trim()) setError("Type a question first.");
    else if (value === null || most === null) setError("An amount is dollars with at most nine decimals, such as 0.001.");
    else if (!value && !most) setError("Say what the answer is worth, or what it may cost at most.");
    else {
      setError("");
      ask({ text: text.trim(), model, tier, value, cap: most, deadlineS: Number(deadline), tokens: Number(tokens), tell });
    }
  };
  const keys = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
  };
  const typed = (/** @type {(text: string) => void} */ set) => (/** @type {any} */ event) => set(event.target.value);
  return html`
    <form class="form ask-form" onSubmit=${submit} onKeyDown=${keys}>
      <${Field} label="Question">
        <textarea name="question" rows="4" value=${text} onInput=${typed(setText)} placeholder="Ask in a sentence or two"></textarea>
      <//>
      <p class="examples">${EXAMPLES[model.startsWith("adaptive") ? "adaptive" : "text"].map((example) => html`
        <button type="button" class="small" key=${example} onClick=${() => setText(example)} title=${example}>${example}</button>
      `)}</p>
      <${Field} label="Model and tier">
        <${Select} name="way" value=${chosen} options=${ways.map((one) => [one, one])} choose=${setWay} />
      <//>
      <div class="pair">
        <${Field} label="The answer is worth" unit="$" hint="The exchange bids for you, up to this.">
          <input name="worth" inputmode="decimal" autocomplete="off" value=${worth} onInput=${typed(setWorth)} />
        <//>
        <${Field} label="Pay at most" unit="$" hint="Optional: a hard cap.">
          <input name="cap" inputmode="decimal" autocomplete="off" value=${cap} onInput=${typed(setCap)} />
        <//>
      </div>
      <div class="pair">
        <${Field} label="Done within" unit="s">
          <input name="deadline" type="number" min="1" max="3600" required value=${deadline} onInput=${typed(setDeadline)} />
        <//>
        <${Field} label="Answer" unit="tokens at most">
          <input name="tokens" type="number" min="1" max="4096" required value=${tokens} onInput=${typed(setTokens)} />
        <//>
      </div>
      <label class="check"><input type="checkbox" name="tell" checked=${tell} onChange=${(/** @type {any} */ e) => setTell(e.target.checked)} />
        <span>Tell the worker what it is worth, so that thinking stops when it no longer pays</span></label>
      <p class="error" role="alert">${error && `✕ ${error}`}</p>
      <div class="form-end">
        <span class="available">${money(page.session.account?.available_nanos ?? 0)} available</span>
        <button type="submit" class="primary">Ask</button>
      </div>
    </form>
  `;
}

/** Model and tier of an instrument's name. @param {string} name */
function wayOf(name) {
  const parts = name.split("/");
  return `${parts[0]} · ${parts.at(-1)}`;
}

// @ts-check
/** One's jobs: state, speed, cost against budget; the chosen one's receipt and bill. */

import { flops, fullMoney, integer, mflop, money, plural, seconds, timeOfDay, words } from "../format.js";
import { useTopics } from "../observe.js";
import { Heat } from "../panels/heat.js";
import { endOf } from "../panels/story.js";
import { usePolled } from "../polled.js";
import { budgetOf, ended } from "../run.js";
import { bytesOf, readSigned } from "../trace.js";
import { Choice, Empty, Meter, Panel, State, Table } from "../ui.js";
import { html, useEffect, useState } from "../vendor/preact-htm.js";

/** @typedef {import("../app.js").Page} Page */

const PAGE_SIZE = 100;
const HEADS = [
  ["Job", "left"], ["State", "left"], ["Model", "left"], ["Worker", "left"], ["Tokens"], ["Speed", "", "tokens/s"],
  ["Compute against budget"], ["Cost against budget"], ["Begun", "left"],
];

/** @param {{page: Page, signIn: () => void}} props */
export function JobsView({ page, signIn }) {
  useTopics(page.heard, page.session.topic);
  const [scope, setScope] = useState("all");
  const [chosen, setChosen] = useState("");
  const { value, error, refresh } = usePolled(
    page,
    () => page.api.get("/v1/jobs", { open_only: scope === "open", page_size: PAGE_SIZE }),
    [scope],
  );
  /** @type {any[]} */
  const jobs = value?.jobs ?? [];
  const job = jobs.find(({ job_id }) => job_id === chosen);
  const aside = html`<${Choice} label="Which jobs" name="jobs" value=${scope} choose=${setScope} options=${[["all", "All"], ["open", "Open"]]} />`;
  return html`
    <h1 class="hidden">Jobs</h1>
    <${Panel} id="jobs" title="Your jobs" kind="jobs" aside=${aside}>
      ${page.session.account === null
        ? html`<${Empty}><button type="button" onClick=${signIn}>Sign in</button> to see your jobs.<//>`
        : !jobs.length
          ? html`<${Empty}>${error || (value ? html`No jobs. <a href="#/console">Ask a question</a> to make one.` : "…")}<//>`
          : html`<div class="scroll-x" tabindex="0">
              <${Table} kind="rows" label="Your jobs, newest first" heads=${HEADS}
                rows=${jobs.map((one) => html`<${Row} key=${one.job_id} page=${page} job=${one} chosen=${one.job_id === chosen}
                  choose=${() => setChosen(one.job_id === chosen ? "" : one.job_id)} />`)} />
            </div>`}
    <//>
    ${job && html`<${Detail} key=${job.job_id} page=${page} job=${job} changed=${refresh} />`}
  `;
}

/** @param {{page: Page, job: any, chosen: boolean, choose: () => void}} props */
function Row({ page, job, chosen, choose }) {
  const budget = BigInt(job.quantity_mflop) * 1_000_000n;
  const most = budgetOf(job);
  const speed = speedOf(job, page.nowNs());
  return html`
    <tr data-chosen=${chosen ? "true" : null}>
      <td class="left"><button type="button" class="small" aria-expanded=${chosen} onClick=${choose}>${job.job_id}</button></td>
      <td class="left"><${State} state=${words(job.state, "JOB_STATE_")} /></td>
      <td class="left">${job.model}<small>${job.tier}</small></td>
      <td class="left">${job.worker || "–"}</td>
      <td>${integer(job.output_tokens)}</td>
      <td>${speed === null ? "–" : speed.toFixed(1)}</td>
      <td><span class="against">${flops(job.flops)} of ${mflop(job.quantity_mflop)}
        <${Meter} label="compute used" part=${Number(job.flops)} whole=${Number(budget)} /></span></td>
      <td><span class="against">${fullMoney(job.paid_nanos)} of ${fullMoney(most)}
        <${Meter} label="cost" part=${Number(job.paid_nanos)} whole=${Number(most)} /></span></td>
      <td class="left muted">${timeOfDay(job.create_time_ns)[0]}</td>
    </tr>
  `;
}

/**
 * Tokens a second over the job's life since it was submitted; null before there is one.
 * @param {any} job
 * @param {bigint} nowNs
 */
function speedOf(job, nowNs) {
  const end = job.end_time_ns === "0" ? nowNs : BigInt(job.end_time_ns);
  const span = Number(end - BigInt(job.create_time_ns)) / 1e9;
  return job.output_tokens && span > 0 ? job.output_tokens / span : null;
}

/** @param {{page: Page, job: any, changed: () => void}} props */
function Detail({ page, job, changed }) {
  const [found, setFound] = useState({ output: "", receipt: /** @type {any} */ (null), why: /** @type {any} */ (null), error: "" });
  const over = ended(job);
  useEffect(() => {
    let left = false;
    const load = async () => {
      try {
        const { output } = await page.api.get(`/v1/jobs/${job.job_id}`, { include_output: true });
        const { receipt } = over && job.lease_id !== "0" ? await page.api.get(`/v1/jobs/${job.job_id}/receipt`) : { receipt: null };
        const why = await page.api.get(`/v1/jobs/${job.job_id}/why`);
        if (!left) setFound({ output, receipt, why, error: "" });
      } catch (error) {
        if (!left) setFound((before) => ({ ...before, error: /** @type {Error} */ (error).message }));
      }
    };
    load();
    return () => {
      left = true;
    };
  }, [job.job_id, job.state, job.output_tokens]);
  const cancel = async () => {
    try {
      await page.api.post(`/v1/jobs/${job.job_id}/cancel`, {});
      changed();
    } catch (error) {
      setFound((before) => ({ ...before, error: /** @type {Error} */ (error).message }));
    }
  };
  const { output, receipt, why } = found;
  const trace = receipt ? readSigned(bytesOf(receipt.signed_bytes)).trace : null;
  const rest = budgetOf(job) - BigInt(job.paid_nanos);
  const aside = !over && html`<button type="button" class="danger" onClick=${cancel}>■ Stop the work and the bill</button>`;
  return html`
    <${Panel} id="job" title="Job ${job.job_id}" kind="job" aside=${aside}>
      <div class="job-body">
        <p class="story-answer">${output || html`<span class="muted">${over ? "No output is kept." : "No output yet."}</span>`}</p>
        ${trace?.kind === "adaptive" && trace.thoughts.length > 0 && html`<${Heat} thoughts=${trace.thoughts} texts=${output.split(" ")} />`}
        ${found.error && html`<p class="error" role="alert">✕ ${found.error}</p>`}
        ${why && html`<p class="job-why">${[why.explanation, ...(why.remedies ?? [])].filter(Boolean).join(" ")}</p>`}
        <dl class="facts">
          ${factsOf(job, receipt, trace, over, rest).map(([name, text]) => html`<div key=${name}><dt>${name}</dt><dd>${text}</dd></div>`)}
        </dl>
      </div>
    <//>
  `;
}

/**
 * @param {any} job
 * @param {any} receipt
 * @param {import("../trace.js").Trace | null} trace
 * @param {boolean} over
 * @param {bigint} rest of the budget
 * @returns {[string, any][]}
 */
function factsOf(job, receipt, trace, over, rest) {
  const price = Number(job.price_nanos) ? `${integer(job.price_nanos)} nano$/CU` : "–";
  const took = over ? seconds(BigInt(job.end_time_ns) - BigInt(job.create_time_ns)) : "–";
  /** @type {[string, any][]} */
  const facts = [
    ["State", over ? endOf(job) : job.waiting_for || words(job.state, "JOB_STATE_")],
    ["Price", price],
    ["Instrument", job.instrument || "–"],
    ["Attempt", integer(job.attempt)],
    ["Took", took],
    ["Paid", money(job.paid_nanos)],
    [over ? "Not spent" : "Held beside", money(rest > 0n ? rest : 0n)],
  ];
  if (receipt) {
    facts.push(["Receipt", `lease ${receipt.lease_id}, ${receipt.accepted ? "accepted" : "refused"}`]);
    facts.push(["Compute", `${integer(receipt.flops)} FLOP, re-computed`]);
  }
  if (trace) facts.push(["Prompt", plural(trace.prompt, "token", "tokens")]);
  return facts;
}

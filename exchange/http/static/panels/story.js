// @ts-check
/** What became of a question, step by step: bid, fill, tokens, receipt, bill. */

import { flops, integer, mflop, money, plural, seconds, words } from "../format.js";
import { ended } from "../run.js";
import { Meter } from "../ui.js";
import { html } from "../vendor/preact-htm.js";
import { Heat } from "./heat.js";

/** @typedef {import("../run.js").Run} Run */

/** @param {{run: Run}} props */
export function Story({ run }) {
  const { job } = run;
  const state = words(job?.state, "JOB_STATE_") || (run.error ? "refused" : "sending");
  const live = !run.over;
  return html`
    <article class="story" aria-label="Question ${run.asked.text}">
      <header class="story-head">
        <p class="story-question">${run.asked.text}</p>
        ${live && job && !ended(job) && html`
          <button type="button" class="danger" disabled=${run.stopping} onClick=${() => run.cancel()}>
            ${run.stopping ? "Stopping …" : "■ Stop the work and the bill"}
          </button>
        `}
      </header>
      <p class="story-answer" aria-live="polite" data-live=${live ? "true" : null}>${run.text || html`<span class="muted">${waiting(run, state)}</span>`}</p>
      ${run.trace?.kind === "adaptive" && run.trace.thoughts.length > 0 && html`
        <${Heat} thoughts=${run.trace.thoughts} texts=${run.chunks.map(({ text }) => text)} />
      `}
      ${run.error && html`<p class="error" role="alert">✕ ${run.error}</p>`}
      ${job && html`<ol class="steps">${stepsOf(run).map(([name, at, done, text]) => html`
        <li key=${name} data-done=${done ? "true" : null}>
          <span class="step-mark" aria-hidden="true">${done ? "✓" : "·"}</span>
          <span class="step-name">${name}</span>
          <span class="step-text">${text}</span>
          <span class="step-at">${at === null ? "" : seconds(at * 1e6)}</span>
        </li>
      `)}</ol>`}
      ${run.receipt && html`<${Bill} run=${run} />`}
    </article>
  `;
}

/**
 * @param {Run} run
 * @param {string} state
 */
function waiting(run, state) {
  if (run.error) return "No answer.";
  if (run.over) return `No answer: the job ${state}${run.job?.reason ? `: ${words(run.job.reason, "REASON_")}` : ""}.`;
  if (state === "queued") return "The bid waits in the book …";
  return state === "sending" ? "Sending …" : "The worker reads the question …";
}

/**
 * The steps: name, when (milliseconds), whether done, and what is to be said.
 * @param {Run} run
 * @returns {[string, number | null, boolean, any][]}
 */
function stepsOf(run) {
  const { job, receipt } = run;
  const at = (/** @type {string} */ kind) => run.moments.findLast((moment) => moment.kind === kind)?.at ?? null;
  const filled = at("fill") !== null && job.lease_id !== "0";
  const over = ended(job);
  const tries = job.attempt > 1 ? ` (attempt ${job.attempt}: what failed before costs nothing)` : "";
  const speed = run.tokensPerS ? ` · ${run.tokensPerS.toFixed(1)} tokens/s` : "";
  return [
    ["Bid", at("bid"), true, html`${money(run.held)} held, for at most ${mflop(job.quantity_mflop)}`],
    ["Fill", at("fill"), filled, filled
      ? html`${job.worker} at ${integer(job.price_nanos)} nano$/CU on ${job.instrument}${tries}`
      : over ? "never filled" : waitingFor(run)],
    ["Tokens", at("start"), run.tokens > 0, run.tokens ? `${plural(run.tokens, "token", "tokens")}${speed}` : over ? "none" : "not begun"],
    ["End", at("end"), over, over ? endOf(job) : "still open"],
    ["Receipt", at("receipt"), receipt !== null, receipt
      ? html`lease ${receipt.lease_id}, signed by ${receipt.worker}; ${flops(receipt.flops)} re-computed and ${receipt.accepted ? "accepted" : `refused: ${words(receipt.reason, "REASON_")}`}`
      : over ? "none: nothing was run, nothing is billed" : "comes with the end"],
  ];
}

/** @param {Run} run */
function waitingFor(run) {
  const bid = run.bidIn(run.why?.options?.[0]?.instrument);
  const why = run.why?.explanation || run.job.waiting_for || "waits for an ask that it can pay";
  return html`${bid > 0 && html`bids ${integer(bid)} nano$/CU now · `}${why}${run.why?.remedies?.length > 0 && html`<br /><span class="muted">${run.why.remedies[0]}</span>`}`;
}

/** @param {any} job */
export function endOf(job) {
  const state = words(job.state, "JOB_STATE_");
  const cause = words(job.stop_cause, "STOP_CAUSE_");
  const reason = words(job.reason, "REASON_");
  return [state, cause, reason].filter((word, i, all) => word && all.indexOf(word) === i).join(" · ");
}

/** @param {{run: Run}} props */
function Bill({ run }) {
  const { job } = run;
  const { held } = run;
  const paid = BigInt(job.paid_nanos ?? 0);
  return html`
    <div class="bill">
      <${Meter} label="${money(paid)} of ${money(held)} that were held" part=${Number(paid)} whole=${Number(held)} />
      <dl>
        <div><dt>Paid</dt><dd>${money(paid)}</dd></div>
        <div><dt>Held</dt><dd>${money(held)}</dd></div>
        <div><dt>Refunded</dt><dd class="good">${money(held > paid ? held - paid : 0n)}</dd></div>
      </dl>
    </div>
  `;
}

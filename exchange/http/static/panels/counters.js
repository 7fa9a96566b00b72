// @ts-check
/** The exchange in a few figures. */

import { flops, integer, plural } from "../format.js";
import { Figure } from "../ui.js";
import { html } from "../vendor/preact-htm.js";

/** @param {{overview: import("../store.js").Overview}} props */
export function Counters({ overview }) {
  const { jobs, workers_total: workers } = overview;
  const [settled, unit] = flops(overview.flops_settled).split(" ");
  const balanced = BigInt(overview.ledger_sum_nanos) === 0n;
  return html`
    <dl class="counters" aria-label="The exchange in figures">
      <${Figure} name="Jobs running" value=${integer(jobs.leased)} about="${integer(jobs.queued)} waiting in the book" />
      <${Figure} name="Jobs settled" value=${integer(jobs.settled)} about="${integer(jobs.unsettled)} ended otherwise" />
      <${Figure} name="Compute settled" value=${settled} unit=${unit} about="metered and paid" />
      <${Figure} name="Slots in use" value=${integer(workers.slots_in_use)} unit="of ${integer(workers.slots)}"
        about="${plural(workers.present, "worker", "workers")} present" />
      <${Figure} name="Ledger sum" value=${integer(overview.ledger_sum_nanos)} unit="nano$" alarm=${!balanced}
        about=${balanced ? "✓ balanced over all accounts" : "✕ does not balance"} />
      <${Figure} name="Journal" value=${integer(overview.journal_records)} unit="records"
        about=${plural(overview.orders_open, "order open", "orders open")} />
    </dl>
  `;
}

// @ts-check
/** Who sells: hardware, slots, how busy, what was earned, how well it went. */

import { NONE, flops, fullMoney, integer, percent, plural } from "../format.js";
import { share, sum } from "../store.js";
import { Empty, Panel, Spark, State, Table } from "../ui.js";
import { html } from "../vendor/preact-htm.js";

/** @typedef {import("../store.js").Worker} Worker */

/** More slots than this are drawn as a bar instead of one mark each. */
const MARKS_MAX = 16;
const HEADS = [
  ["Worker", "left"], ["State", "left"], ["Hardware", "left"], ["Slots in use", "left"], ["Utilisation, 2 min", "left"],
  ["Leases settled"], ["Failed"], ["Compute settled"], ["Earned"],
];

/** @param {{store: import("../store.js").Store, actions?: (worker: Worker) => any}} props */
export function Workers({ store, actions }) {
  const overview = store.overview;
  const workers = overview?.workers ?? [];
  const total = overview?.workers_total;
  const aside = total && html`<p class="unit">${integer(total.present)} present · ${plural(total.slots, "slot", "slots")}</p>`;
  return html`
    <${Panel} id="workers" title="Workers" kind="workers" aside=${aside}>
      ${workers.length
        ? html`<div class="scroll-x" tabindex="0">
            <${Table} kind="fleet" label="Workers" heads=${actions ? [...HEADS, ["Operator", "left"]] : HEADS}
              rows=${workers.map((worker) => html`<${Row} key=${worker.worker_id} worker=${worker}
                use=${store.use.get(worker.worker_id) ?? []} actions=${actions} />`)} />
          </div>`
        : html`<${Empty}>No workers yet. One dials in with: <code>flopex worker run</code><//>`}
    <//>
  `;
}

/** @param {{worker: Worker, use: number[], actions?: (worker: Worker) => any}} props */
function Row({ worker, use, actions }) {
  const used = sum(worker.slots_in_use);
  const all = sum(worker.slots);
  const mean = use.length ? sum(use) / use.length : 0;
  const ended = worker.leases_settled + worker.leases_failed;
  return html`
    <tr>
      <th scope="row" class="left">${worker.name}<small>${worker.models.join(", ")}</small></th>
      <td class="left" data-label="State"><${State} state=${wordOf(worker)} /></td>
      <td class="left" data-label="Hardware"><span class="hardware">${worker.hardware || NONE}</span></td>
      <td class="left" data-label="Slots in use"><span class="slots-cell"><${Marks} used=${used} all=${all} />${integer(used)} of ${integer(all)}</span></td>
      <td class="left" data-label="Utilisation, 2 min">
        <span class="use"><${Spark} values=${use} low=${0} high=${1} />${percent(mean)}</span>
      </td>
      <td data-label="Leases settled">${integer(worker.leases_settled)}</td>
      <td data-label="Failed">${integer(worker.leases_failed)}<small>${ended ? percent(share(worker.leases_failed, ended)) : NONE}</small></td>
      <td data-label="Compute settled">${flops(worker.flops_settled)}</td>
      <td data-label="Earned">${fullMoney(worker.earned_nanos)}</td>
      ${actions && html`<td class="left" data-label="Operator">${actions(worker)}</td>`}
    </tr>
  `;
}

/** @param {Worker} worker */
function wordOf(worker) {
  const present = ["ready", "paused", "draining"].includes(worker.state);
  return present && !worker.connected ? "away" : worker.state;
}

/** @param {{used: number, all: number}} props */
function Marks({ used, all }) {
  if (all > MARKS_MAX) {
    return html`<span class="slots bar" aria-hidden="true" style=${{ "--used": `${(used / all) * 100}%` }}></span>`;
  }
  return html`
    <span class="slots" aria-hidden="true">
      ${Array.from({ length: all }, (_, i) => html`<i key=${i} class=${i < used ? "used" : ""}></i>`)}
    </span>
  `;
}

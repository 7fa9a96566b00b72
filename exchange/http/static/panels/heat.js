// @ts-check
/** How much thought each token took: its steps as a strip, darker where the model was surer. */

import { percent, plural } from "../format.js";
import { html } from "../vendor/preact-htm.js";

/** @typedef {import("../trace.js").Thought} Thought */

/** @type {Record<string, string>} */
const WHY = {
  "go on": "was stopped from outside",
  answer: "was sure enough",
  hopeless: "gave up: no right answer to be expected",
  price: "stopped: more thought would have cost more than it gains",
  steps: "had no steps left",
  budget: "stopped: the next step might not have fitted the budget",
};

/**
 * @param {{thoughts: Thought[], texts: string[]}} props one text for each token that was written
 */
export function Heat({ thoughts, texts }) {
  const most = Math.max(...thoughts.map(({ steps }) => steps.length));
  const all = thoughts.reduce((sum, { steps }) => sum + steps.length, 0);
  return html`
    <figure class="heat">
      <figcaption>${plural(all, "step", "steps")} of thought over ${plural(thoughts.length, "token", "tokens")}</figcaption>
      <ol>
        ${thoughts.map((thought, i) => html`<${Token} key=${i} thought=${thought} text=${texts[i]} most=${most} />`)}
      </ol>
      <p class="heat-key"><span>unsure</span><i class="heat-scale" aria-hidden="true"></i><span>sure that the token is right</span></p>
    </figure>
  `;
}

/** @param {{thought: Thought, text: string | undefined, most: number}} props */
function Token({ thought, text, most }) {
  const shown = text?.trim() ? text : thought.token < 0 ? "✕ none" : "⏎ end";
  const last = /** @type {import("../trace.js").Step} */ (thought.steps.at(-1));
  const said = `${plural(thought.steps.length, "step", "steps")}; it ${WHY[thought.decision]}, ${percent(last.now)} sure`;
  return html`
    <li title=${said}>
      <span class="heat-token">${shown}</span>
      <span class="heat-steps" role="img" aria-label=${said} style=${{ "--most": most }}>
        ${thought.steps.map((step, i) => html`<i key=${i} style=${{ "--sure": step.now.toFixed(3) }}></i>`)}
      </span>
      <span class="heat-count">${plural(thought.steps.length, "step", "steps")}<small>${percent(last.now)} sure</small></span>
    </li>
  `;
}

// @ts-check
/** The fleet. */

import { useTopics } from "../observe.js";
import { Workers } from "../panels/workers.js";
import { html } from "../vendor/preact-htm.js";

/** @param {{page: import("../app.js").Page}} props */
export function WorkersView({ page }) {
  useTopics(page.heard);
  return html`
    <h1 class="hidden">Workers</h1>
    <${Workers} store=${page.store} />
  `;
}

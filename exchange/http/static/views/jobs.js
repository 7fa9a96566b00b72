import { html } from "../vendor/preact-htm.js";
export function JobsView() { return html`<h1>Jobs</h1>`; }

import { html } from "../vendor/preact-htm.js";
export function OperatorView() { return html`<h1>Operator</h1>`; }

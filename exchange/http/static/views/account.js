import { html } from "../vendor/preact-htm.js";
export function AccountView() { return html`<h1>Account</h1>`; }

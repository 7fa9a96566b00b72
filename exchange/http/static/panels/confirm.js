// @ts-check
/** A question before something that others will feel. */

import { Dialog } from "../ui.js";
import { html, useState } from "../vendor/preact-htm.js";

/** @typedef {{title: string, text: string, verb: string, danger: boolean, act: () => Promise<any>}} Intent */

/** @param {{intent: Intent, close: () => void}} props */
export function Confirm({ intent, close }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const act = async () => {
    setBusy(true);
    try {
      await intent.act();
      close();
    } catch (failure) {
      setError(/** @type {Error} */ (failure).message);
      setBusy(false);
    }
  };
  return html`
    <${Dialog} id="confirm" title=${intent.title} close=${close}>
      <p>${intent.text}</p>
      <p class="error" role="alert">${error && `✕ ${error}`}</p>
      <div class="form-end">
        <button type="button" onClick=${close} autofocus>Leave it</button>
        <button type="button" class=${intent.danger ? "danger" : "primary"} disabled=${busy} onClick=${act}>${intent.verb}</button>
      </div>
    <//>
  `;
}

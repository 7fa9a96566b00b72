// @ts-check
/** Signing in by API key. */

import { useTopics } from "../observe.js";
import { Dialog, Field } from "../ui.js";
import { html, useEffect, useState } from "../vendor/preact-htm.js";

/** @param {{session: import("../session.js").Session, close: () => void}} props */
export function SignIn({ session, close }) {
  useTopics(session.topic);
  const [key, setKey] = useState("");
  const done = session.account !== null;
  useEffect(() => {
    if (done) close();
  }, [done]);
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    session.signIn(key);
  };
  return html`
    <${Dialog} id="sign-in" title="Sign in" close=${close}>
      <form class="form" onSubmit=${submit}>
        <${Field} label="API key" hint="It stays in this tab and is sent to this exchange alone. flopex demo prints one; an operator makes them.">
          <input type="password" name="key" autocomplete="off" spellcheck="false" placeholder="flx_…" value=${key}
            onInput=${(/** @type {any} */ event) => setKey(event.target.value)} required autofocus
            aria-describedby="sign-in-error" aria-invalid=${session.error ? "true" : null} />
        <//>
        <p id="sign-in-error" class="error" role="alert">${session.error ? `✕ ${session.error}` : ""}</p>
        <div class="form-end">
          <button type="button" onClick=${close}>Cancel</button>
          <button type="submit" class="primary" disabled=${session.trying}>${session.trying ? "Trying …" : "Sign in"}</button>
        </div>
      </form>
    <//>
  `;
}

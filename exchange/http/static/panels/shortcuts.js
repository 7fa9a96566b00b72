// @ts-check
/** Keys that do something anywhere on the page, and the dialog that lists them and switches them off. */

import { Dialog } from "../ui.js";
import { html, useEffect, useState } from "../vendor/preact-htm.js";

/** @typedef {readonly (readonly [string, string])[]} Views */

const OFF_AS = "flopex-keys-off";

/**
 * @param {(view: string) => void} show
 * @param {Views} views
 * @param {() => void} help
 */
export function useShortcuts(show, views, help) {
  useEffect(() => {
    const pressed = (/** @type {KeyboardEvent} */ event) => {
      const at = /** @type {HTMLElement} */ (event.target);
      const writing = at.closest?.("input, textarea, select, dialog") != null;
      if (writing || event.ctrlKey || event.metaKey || event.altKey || localStorage.getItem(OFF_AS)) return;
      const view = views[Number(event.key) - 1];
      if (view) show(view[0]);
      else if (event.key === "?") help();
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [views.length]);
}

/** @param {{views: Views, close: () => void}} props */
export function Shortcuts({ views, close }) {
  const [on, setOn] = useState(localStorage.getItem(OFF_AS) === null);
  const change = () => {
    if (on) localStorage.setItem(OFF_AS, "true");
    else localStorage.removeItem(OFF_AS);
    setOn(!on);
  };
  return html`
    <${Dialog} id="shortcuts" title="Keyboard" close=${close}>
      <dl class="keys">
        ${views.map(([name, title], i) => html`<div key=${name}><dt><kbd>${i + 1}</kbd></dt><dd>${title}</dd></div>`)}
        <div><dt><kbd>↑</kbd> <kbd>↓</kbd></dt><dd>through the instruments</dd></div>
        <div><dt><kbd>Ctrl</kbd> <kbd>Enter</kbd></dt><dd>ask the question in the console</dd></div>
        <div><dt><kbd>Esc</kbd></dt><dd>close a dialog</dd></div>
        <div><dt><kbd>?</kbd></dt><dd>this list</dd></div>
      </dl>
      <label class="check"><input type="checkbox" checked=${on} onChange=${change} /> Single keys work anywhere on the page</label>
    <//>
  `;
}

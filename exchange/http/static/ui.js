// @ts-check
/** The parts that panels are made of. Text goes in as text only: nothing is parsed as HTML. */

import { html, useEffect, useRef } from "./vendor/preact-htm.js";

/** @typedef {any} Children */

/**
 * A framed part of the page with a heading.
 * @param {{id: string, title: Children, aside?: Children, kind?: string, scroll?: boolean, children?: Children}} props
 */
export function Panel({ id, title, aside, kind = "", scroll = false, children }) {
  return html`
    <section class="panel ${kind}" id=${id} aria-labelledby="${id}-title">
      <header class="panel-head">
        <h2 id="${id}-title">${title}</h2>
        ${aside}
      </header>
      ${scroll
        ? html`<div class="scroll" tabindex="0">${children}</div>`
        : children}
    </section>
  `;
}

/**
 * What stands where there is nothing to show: what it means, and what to do.
 * @param {{children?: Children}} props
 */
export function Empty({ children }) {
  return html`<p class="empty">${children}</p>`;
}

/**
 * One figure with its name, unit and what is to be said about it.
 * @param {{name: string, value: Children, unit?: string, about?: Children, alarm?: boolean}} props
 */
export function Figure({ name, value, unit = "", about = "", alarm = false }) {
  return html`
    <div class="figure" data-alarm=${alarm ? "true" : null}>
      <dt>${name}</dt>
      <dd class="figure-value">${value}${unit && html`<span class="figure-unit">${unit}</span>`}</dd>
      ${about && html`<dd class="figure-about">${about}</dd>`}
    </div>
  `;
}

/**
 * One of a few, as buttons side by side.
 * @param {{label: string, name: string, value: string, options: [string, string][], choose: (value: string) => void}} props
 */
export function Choice({ label, name, value, options, choose }) {
  return html`
    <fieldset class="choice">
      <legend class="hidden">${label}</legend>
      ${options.map(
        ([one, text]) => html`
          <label key=${one}>
            <input type="radio" name=${name} value=${one} checked=${one === value} onChange=${() => choose(one)} />
            <span>${text}</span>
          </label>
        `,
      )}
    </fieldset>
  `;
}

/**
 * A labelled field.
 * @param {{label: string, unit?: string, hint?: Children, children?: Children}} props
 */
export function Field({ label, unit = "", hint = "", children }) {
  return html`
    <label class="field">
      <span class="field-label">${label}</span>
      <span class="field-box">${children}${unit && html`<span class="field-unit">${unit}</span>`}</span>
      ${hint && html`<span class="field-hint">${hint}</span>`}
    </label>
  `;
}

/**
 * One of a list.
 * @param {{name: string, value: string, options: [string, string][], choose: (value: string) => void, disabled?: boolean}} props
 */
export function Select({ name, value, options, choose, disabled = false }) {
  return html`
    <select name=${name} value=${value} disabled=${disabled} onChange=${(/** @type {any} */ event) => choose(event.target.value)}>
      ${options.map(([one, text]) => html`<option key=${one} value=${one}>${text}</option>`)}
    </select>
  `;
}

/** Signs and words of states; the sign says what the colour says. @type {Record<string, string>} */
const SIGNS = {
  ready: "●", open: "●", settled: "✓", filled: "✓", good: "✓", accepted: "✓",
  running: "▶", leased: "▷", queued: "◷", new: "◷", "partially filled": "◐",
  paused: "‖", halted: "‖", auction: "◔", draining: "↓", away: "◌",
  lost: "✕", failed: "✕", rejected: "✕", expired: "✕", bad: "✕",
  cancelled: "⊘", canceled: "⊘", closed: "⊘",
};

/** @param {{state: string}} props */
export function State({ state }) {
  return html`<span class="state" data-state=${state}><span aria-hidden="true">${SIGNS[state] ?? "•"}</span> ${state}</span>`;
}

/**
 * How full something is.
 * @param {{label: string, part: number, whole: number, kind?: string}} props
 */
export function Meter({ label, part, whole, kind = "" }) {
  const share = whole > 0 ? Math.min(1, part / whole) : 0;
  return html`
    <span class="meter ${kind}" role="img" aria-label=${label}>
      <span style=${{ width: `${(share * 100).toFixed(1)}%` }}></span>
    </span>
  `;
}

/**
 * A line through values, oldest first, in a box that it fills.
 * @param {{values: number[], low?: number, high?: number, kind?: string, label?: string}} props
 */
export function Spark({ values, low, high, kind = "", label = "" }) {
  const width = 64;
  const height = 24;
  const bottom = low ?? Math.min(...values);
  const span = (high ?? Math.max(...values)) - bottom;
  const step = width / Math.max(1, values.length - 1);
  const y = (/** @type {number} */ value) => (span ? height - 2 - ((value - bottom) / span) * (height - 4) : height / 2);
  const points = values.map((value, i) => `${(i * step).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const said = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  return html`
    <svg class="spark ${kind}" viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" ...${said}>
      ${values.length > 1 && html`<polyline points=${points} />`}
    </svg>
  `;
}

/** @type {Record<string, [string, string, string]>} */
const MOVES = {
  "-1": ["down", "▼", "lower than before"],
  0: ["same", "", ""],
  1: ["up", "▲", "higher than before"],
};

/**
 * Which way a price went: an arrow, a colour and a word.
 * @param {{move: number}} props
 */
export function Arrow({ move }) {
  const [kind, sign, spoken] = MOVES[String(move)];
  if (!sign) return html`<span class="arrow"></span>`;
  return html`<span class="arrow ${kind}" role="img" aria-label=${spoken}>${sign}</span>`;
}

/**
 * A table with a head; `rows` are its rows.
 * @param {{kind?: string, label: string, heads: [string, string?, string?][], rows: Children}} props
 */
export function Table({ kind = "", label, heads, rows }) {
  return html`
    <table class="table ${kind}" aria-label=${label}>
      <thead>
        <tr>
          ${heads.map(([name, align, unit]) => html`
            <th key=${name} scope="col" class=${align ?? ""}>${name || html`<span class="hidden">Action</span>`}${unit && html`<small>${unit}</small>`}</th>
          `)}
        </tr>
      </thead>
      <tbody>
        ${rows}
      </tbody>
    </table>
  `;
}

/**
 * A dialog over the page; Escape closes it, and the focus goes back.
 * @param {{id: string, title: string, close: () => void, children?: Children}} props
 */
export function Dialog({ id, title, close, children }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const shown = /** @type {HTMLDialogElement} */ (dialog.current);
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    shown.showModal();
    return () => before?.focus();
  }, []);
  return html`
    <dialog ref=${dialog} id=${id} class="dialog" aria-labelledby="${id}-title" onClose=${close} onCancel=${close}>
      <header class="panel-head">
        <h2 id="${id}-title">${title}</h2>
        <button type="button" class="plain" aria-label="Close" onClick=${close}>✕</button>
      </header>
      <div class="dialog-body">${children}</div>
    </dialog>
  `;
}

const still = matchMedia("(prefers-reduced-motion: reduce)");
/** A number that changes all the time lights up this often at most, milliseconds. */
const FLASH_EVERY_MS = 400;

/**
 * A number that lights up for a moment when it changes, unless less motion is wished for.
 * @param {{text: string, of?: string, kind?: string}} props `of`: what it is a number of; another one's is no change
 */
export function Lit({ text, of = "", kind = "" }) {
  const node = useRef(/** @type {HTMLElement | null} */ (null));
  const before = useRef({ text, of, at: 0 });
  useEffect(() => {
    if (before.current.text === text && before.current.of === of) return;
    const now = performance.now();
    if (before.current.text && before.current.of === of && !still.matches && now - before.current.at > FLASH_EVERY_MS) {
      node.current?.animate({ backgroundColor: ["var(--flash)", "transparent"] }, { duration: 450 });
      before.current.at = now;
    }
    before.current.text = text;
    before.current.of = of;
  }, [text, of]);
  return html`<span ref=${node} class="lit ${kind}">${text}</span>`;
}

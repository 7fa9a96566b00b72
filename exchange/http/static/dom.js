// @ts-check
/** The few helpers that plain DOM needs. Text goes in as text only: nothing is parsed as HTML. */

/**
 * @param {string} tag
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/**
 * Change text only where it differs, so that nothing is laid out or read out again for nothing.
 * @param {Element} node
 * @param {string} text
 * @returns {boolean} whether it changed
 */
export function setText(node, text) {
  if (node.textContent === text) return false;
  node.textContent = text;
  return true;
}

/**
 * @param {Element} node
 * @param {string} name
 * @param {string | null} value null removes it
 */
export function setAttribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/**
 * The element with this id, which the page must have.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found;
}

/**
 * Keep a parent's children in step with a list: one child for each key, kept while its key stays.
 * @template T
 */
export class KeyedList {
  /**
   * @param {HTMLElement} parent
   * @param {(item: T) => string} key
   * @param {(item: T) => HTMLElement} create
   * @param {(node: HTMLElement, item: T) => void} update
   */
  constructor(parent, key, create, update) {
    this.parent = parent;
    this.key = key;
    this.create = create;
    this.update = update;
    /** @type {Map<string, HTMLElement>} */
    this.nodes = new Map();
  }

  /** @param {T[]} items */
  render(items) {
    const wanted = new Set(items.map(this.key));
    for (const [key, node] of this.nodes) {
      if (!wanted.has(key)) {
        node.remove();
        this.nodes.delete(key);
      }
    }
    let next = this.parent.firstElementChild;
    for (const item of items) {
      const key = this.key(item);
      let node = this.nodes.get(key);
      if (node === undefined) {
        node = this.create(item);
        this.nodes.set(key, node);
      }
      if (node === next) next = node.nextElementSibling;
      else this.parent.insertBefore(node, next);
      this.update(node, item);
    }
  }
}

const still = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * Let a changed number light up for a moment.
 * @param {Element} node
 */
export function flash(node) {
  if (!still.matches) node.animate({ color: ["var(--side, var(--focus))", "var(--text)"] }, { duration: 500 });
}

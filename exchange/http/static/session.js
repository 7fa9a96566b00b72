// @ts-check
/** Who looks at the page: an API key, kept for this tab alone, and what it may do. */

import { Topic } from "./observe.js";

const KEPT_AS = "flopex-key";
const KEY_FORM = /^flx_[A-Za-z0-9_-]{43}$/;

/** @typedef {import("./api.js").Api} Api */

/**
 * @typedef {object} Account
 * @property {number} account_id
 * @property {string} name
 * @property {boolean} paper
 * @property {string} balance_nanos
 * @property {string} pending_nanos
 * @property {string} available_nanos
 * @property {{instrument_id: number, quantity_mflop: string}[]} positions
 * @property {number} open_orders
 * @property {number} open_jobs
 * @property {boolean} halted
 */

export class Session {
  constructor() {
    this.topic = new Topic();
    this.key = "";
    /** @type {Account | null} */
    this.account = null;
    /** @type {string[]} */
    this.roles = [];
    /** Why the last key was not taken. */
    this.error = "";
    /** Whether a key is being tried. */
    this.trying = false;
    /** @type {Api | null} */
    this.api = null;
  }

  /** Whether the key has one of these roles. @param {...string} roles */
  may(...roles) {
    return this.account !== null && roles.some((role) => this.roles.includes(role));
  }

  /**
   * Begin: with the key in the address, which is taken out of it, or with the one kept.
   * @param {Api} api
   */
  async start(api) {
    this.api = api;
    const given = /^#key=([^&]*)/.exec(location.hash);
    if (given !== null) history.replaceState(null, "", location.pathname + location.search);
    const key = given?.[1] ?? sessionStorage.getItem(KEPT_AS) ?? "";
    if (key) await this.signIn(key);
  }

  /**
   * Try a key, and keep it where the exchange knows it.
   * @param {string} text
   */
  async signIn(text) {
    const key = text.trim();
    this.error = "";
    if (!KEY_FORM.test(key)) {
      this.error = "An API key is flx_ and 43 characters.";
      this.topic.touch();
      return;
    }
    this.key = key;
    this.trying = true;
    this.topic.touch();
    try {
      await this.refresh();
      const { keys } = await /** @type {Api} */ (this.api).get("/v1/keys");
      this.roles = await rolesOf(key, keys ?? []);
      sessionStorage.setItem(KEPT_AS, key);
    } catch (error) {
      const { status, message } = /** @type {import("./api.js").ApiError} */ (error);
      this.account = null;
      this.error = message;
      // A key that was refused is forgotten; one that could not be asked about is tried again.
      if (status === 401 || status === 403) this.signOut(message);
    }
    this.trying = false;
    this.topic.touch();
  }

  /** The account's figures, asked for again. */
  async refresh() {
    const { key } = this;
    if (!key || this.api === null) return;
    const { account } = await this.api.get("/v1/account");
    // One may have signed out meanwhile.
    if (this.key !== key) return;
    this.account = account;
    this.topic.touch();
  }

  /** Forget the key. @param {string} [why] */
  signOut(why = "") {
    sessionStorage.removeItem(KEPT_AS);
    this.key = "";
    this.account = null;
    this.roles = [];
    this.error = why;
    this.topic.touch();
  }
}

/**
 * The roles of one key among its account's: the exchange names keys by their hash. Where the page may
 * not hash (plain HTTP from another machine), those of all: the exchange refuses what is too much.
 * @param {string} key
 * @param {{key_id: string, roles?: string[]}[]} keys
 */
async function rolesOf(key, keys) {
  const all = [...new Set(keys.flatMap(({ roles }) => roles ?? []))];
  if (!globalThis.crypto?.subtle) return all;
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key));
  const hex = [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return keys.find(({ key_id }) => hex.startsWith(key_id))?.roles ?? all;
}

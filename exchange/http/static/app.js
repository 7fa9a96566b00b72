// @ts-check
/** Wires the exchange's streams to what the page knows, and that to what it shows. */

import { Api } from "./api.js";
import { Days } from "./day.js";
import { Feed } from "./feed.js";
import { Market } from "./market.js";
import { Topic } from "./observe.js";
import { Route } from "./route.js";
import { Session } from "./session.js";
import { Shell } from "./shell.js";
import { Store } from "./store.js";
import { html, render } from "./vendor/preact-htm.js";

/** Everything that the page knows, and what tells that it has changed. */
export class Page {
  constructor() {
    this.store = new Store();
    /** A newer overview came. */
    this.heard = new Topic();
    this.route = new Route();
    this.session = new Session();
    this.api = new Api(() => this.session.key);
    this.market = new Market(this.store);
    this.days = new Days(this.api, this.store);
    /** How the connection is. @type {import("./feed.js").Status} */
    this.status = { kind: "connecting", silentS: -1, retryS: 0 };
    this.statusTopic = new Topic();
    /** Difference between the exchange's clock and this machine's, milliseconds. */
    this.aheadMs = 0;
    this.feed = new Feed("/ws/v1/overview", (message) => this.#take(message), (status) => this.#told(status));
  }

  start() {
    addEventListener("hashchange", () => {
      if (location.hash.startsWith("#key=")) this.session.start(this.api);
    });
    this.route.start();
    this.route.topic.listen(() => this.market.choose(this.route.instrument));
    this.market.choose(this.route.instrument);
    this.session.topic.listen(() => {
      const signedIn = this.session.account !== null;
      this.days.ask(signedIn);
      this.market.signIn(signedIn ? this.session.key : "");
    });
    this.session.start(this.api);
    this.feed.start();
  }

  /** The instrument that is looked at. */
  get instrument() {
    return this.store.instrument(this.route.instrument);
  }

  /** The exchange's time, nanoseconds since the epoch. */
  nowNs() {
    return BigInt(Math.round(Date.now() + this.aheadMs)) * 1_000_000n;
  }

  /** @param {import("./store.js").Overview} overview */
  #take(overview) {
    this.store.take(overview);
    const eventMs = Number(BigInt(overview.event_time_ns) / 1_000_000n);
    // Journal time stands still while nothing happens: it never says that this clock is behind.
    this.aheadMs = Math.max(0, eventMs - Date.now());
    this.market.heard();
    this.heard.touch();
  }

  /** @param {import("./feed.js").Status} status */
  #told(status) {
    const { kind, silentS, retryS } = this.status;
    if (kind === status.kind && silentS === status.silentS && retryS === status.retryS) return;
    this.status = status;
    this.statusTopic.touch();
    // A key that could not be asked about while nothing answered.
    const { session } = this;
    if (status.kind === "live" && kind !== "live" && session.key && session.account === null && !session.trying) session.signIn(session.key);
  }
}

const page = new Page();
const app = /** @type {HTMLElement} */ (document.getElementById("app"));
render(html`<${Shell} page=${page} />`, app);
page.start();

// @ts-check
/** The market's WebSocket: every change of one book, checked, and every trade of its instrument. */

import { Book } from "./book.js";
import { Feed } from "./feed.js";

const PATH = "/ws/v1/market";
/** Levels of each side that are followed. */
const DEPTH = 50;
/** Past trades that a subscription begins with. */
const RECENT = 300;
/** A subscription that ended with an error is tried again after so long. */
const AGAIN_MS = 1000;
/** @type {Record<string, string>} */
const TAKERS = { SIDE_BID: "bid", SIDE_ASK: "ask" };

/** @typedef {import("./store.js").Trade} Trade */

export class Stream {
  /**
   * @param {string} key
   * @param {() => void} onBook the book has changed, or is not known any more
   * @param {(trades: Trade[]) => void} onTrades oldest first
   */
  constructor(key, onBook, onTrades) {
    this.key = key;
    this.onBook = onBook;
    this.onTrades = onTrades;
    this.instrument = "";
    this.book = new Book();
    /** Whether the book is whole: a snapshot came, and all that followed it. */
    this.whole = false;
    /** How often the book had to be asked for again, since the page was opened. */
    this.repairs = 0;
    this.feed = new Feed(PATH, (message) => this.#take(message), (status) => this.#told(status), () => this.#open());
    this.feed.start();
  }

  stop() {
    this.feed.stop();
    this.whole = false;
  }

  /** Follow this instrument, and no other. @param {string} instrument */
  follow(instrument) {
    if (instrument === this.instrument) return;
    if (this.instrument) {
      for (const channel of ["book", "trades"]) this.feed.send({ method: "unsubscribe", channel, instrument: this.instrument });
    }
    this.instrument = instrument;
    this.#forget();
    this.#subscribe("book");
    this.#subscribe("trades");
  }

  #open() {
    this.feed.send({ method: "auth", key: this.key });
    this.#subscribe("book");
    this.#subscribe("trades");
  }

  /** @param {string} channel */
  #subscribe(channel) {
    if (!this.instrument) return;
    const more = channel === "book" ? { depth: DEPTH } : { recent: RECENT };
    this.feed.send({ method: "subscribe", channel, instrument: this.instrument, ...more });
  }

  /** @param {any} message */
  #take(message) {
    if (message.instrument !== this.instrument) return;
    if (message.error) {
      if (message.channel === "book") this.#forget();
      setTimeout(() => message.instrument === this.instrument && this.#subscribe(message.channel), AGAIN_MS);
    } else if (message.channel === "book") {
      this.#change(message);
    } else if (message.channel === "trades") {
      this.onTrades(message.data.trades.map(tradeOf));
    }
  }

  /** @param {any} message */
  #change(message) {
    this.whole = "ok" in this.book.apply(message);
    if (!this.whole) {
      this.repairs += 1;
      this.feed.send({ method: "unsubscribe", channel: "book", instrument: this.instrument });
      this.#subscribe("book");
    }
    this.onBook();
  }

  /** @param {import("./feed.js").Status} status */
  #told({ kind }) {
    if (kind !== "live" && this.whole) this.#forget();
  }

  #forget() {
    this.book = new Book();
    this.whole = false;
    this.onBook();
  }
}

/** A trade of the API as the overview has it. @param {any} trade @returns {Trade} */
function tradeOf(trade) {
  return { ...trade, price_nanos: Number(trade.price_nanos), taker_side: TAKERS[trade.taker_side] ?? "none" };
}

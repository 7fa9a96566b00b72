// @ts-check
/** Wires the feed to the store and the store to the panels; draws at most once a frame. */

import { Counters } from "./counters.js";
import { byId, element, setAttribute, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { duration } from "./format.js";
import { Instruments } from "./instruments.js";
import { Ladder } from "./ladder.js";
import { Store } from "./store.js";
import { Trades } from "./trades.js";
import { Workers } from "./workers.js";

const store = new Store();
const counters = new Counters(byId("counters"));
const instruments = new Instruments(byId("instruments"), store, choose);
const ladder = new Ladder(byId("ladder"));
const trades = new Trades(byId("trades"), store);
const workers = new Workers(byId("workers"), byId("workers-about"));

let asked = false;

function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    draw();
  });
}

function draw() {
  const overview = store.overview;
  if (overview === null) return;
  counters.render(overview);
  instruments.render();
  ladder.render(store.instrument);
  trades.render();
  workers.render(overview);
  setText(byId("life"), `epoch ${overview.epoch} · up ${duration(overview.uptime_s)}`);
  const name = store.instrument?.name;
  document.title = name ? `${name} · Flopex` : "Flopex";
}

/** @param {string} name */
function choose(name) {
  store.chosen = name;
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  redraw();
}

function chooseFromAddress() {
  store.chosen = decodeURIComponent(location.hash.slice(1));
  redraw();
}

const retry = element("button", { type: "button" }, "Try now");
retry.addEventListener("click", () => feed.retryNow());
const noticeText = element("span");
byId("notice").append(noticeText, retry);

/** @param {import("./feed.js").Status} status */
function showStatus({ kind, silentS, retryS }) {
  const words = {
    connecting: "◌ Connecting",
    live: "● Live",
    stale: `▲ Stale for ${silentS} s`,
    offline: "✕ Offline",
  };
  const pill = byId("connection");
  setAttribute(pill, "data-kind", kind);
  setText(pill, words[kind]);
  const old = silentS < 0 ? "Nothing was heard yet." : `The figures are ${duration(silentS)} old.`;
  const next = retryS ? `Next try in ${retryS} s.` : "Trying now.";
  let text = "";
  if (kind === "offline") text = `The exchange cannot be reached. ${old} ${next}`;
  else if (kind === "stale") text = `The exchange has fallen silent. ${old}`;
  else if (store.overview?.state === "draining") text = "The exchange is draining: it takes no new work.";
  setAttribute(document.body, "data-stale", kind === "stale" || kind === "offline" ? "true" : null);
  setAttribute(byId("notice"), "hidden", text ? null : "");
  setAttribute(retry, "hidden", kind === "offline" && retryS ? null : "");
  setText(noticeText, text);
}

const feed = new Feed(
  "/ws/v1/overview",
  (overview) => {
    store.take(overview);
    redraw();
  },
  showStatus,
);

for (const input of document.querySelectorAll("input[name=scope]")) {
  input.addEventListener("change", () => {
    store.allTrades = /** @type {HTMLInputElement} */ (input).value === "all";
    redraw();
  });
}
addEventListener("hashchange", chooseFromAddress);
chooseFromAddress();
feed.start();

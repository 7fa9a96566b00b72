// @ts-check
/** The WebSocket: connects, connects again, and says how fresh what it heard is. */

/** The exchange says something each second; after this long, milliseconds, data counts as stale. */
export const STALE_AFTER_MS = 3000;
/** After this long a connection that still looks open is given up. */
const GIVE_UP_AFTER_MS = 10000;
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 8000;
const LOOK_EVERY_MS = 500;
/** A connection that has a reason to be silent is asked for an answer after so long. */
const PING_AFTER_MS = 2000;

/**
 * @typedef {object} Status
 * @property {"connecting" | "live" | "stale" | "offline"} kind
 * @property {number} silentS seconds since the last message; -1 before the first
 * @property {number} retryS seconds until the next try; 0 while one is under way
 */

export class Feed {
  /**
   * @param {string} path
   * @param {(message: any) => void} onMessage
   * @param {(status: Status) => void} onStatus called twice a second and at each change
   * @param {(() => void) | null} [onOpen] what is to be said first; then silence is broken by pings
   */
  constructor(path, onMessage, onStatus, onOpen = null) {
    this.url = `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}${path}`;
    this.onMessage = onMessage;
    this.onStatus = onStatus;
    this.onOpen = onOpen;
    /** @type {number | undefined} */
    this.looking = undefined;
    /** @type {WebSocket | null} */
    this.socket = null;
    this.heardAt = -1;
    this.openedAt = 0;
    this.retryAt = 0;
    this.failures = 0;
  }

  start() {
    this.looking = setInterval(() => this.#look(), LOOK_EVERY_MS);
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.retryNow();
    });
    this.#connect();
  }

  /** End it for good. */
  stop() {
    clearInterval(this.looking);
    this.looking = undefined;
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  /** @param {any} message */
  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  /** Do not wait for the next try. */
  retryNow() {
    if (this.looking === undefined) return;
    if (this.socket === null) this.#connect();
    this.#tell();
  }

  #connect() {
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.openedAt = performance.now();
    socket.onopen = () => {
      if (this.socket === socket) this.onOpen?.();
    };
    socket.onmessage = (event) => {
      if (this.socket !== socket) return;
      this.failures = 0;
      this.heardAt = performance.now();
      this.onMessage(JSON.parse(event.data));
      this.#tell();
    };
    socket.onclose = () => {
      if (this.socket === socket) this.#lost();
    };
    this.#tell();
  }

  #lost() {
    const wait = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** this.failures);
    this.failures += 1;
    this.socket = null;
    // Not all pages at once, where an exchange comes back.
    this.retryAt = performance.now() + wait * (0.75 + 0.5 * Math.random());
    this.#tell();
  }

  #look() {
    const now = performance.now();
    const silentMs = now - Math.max(this.heardAt, this.openedAt);
    if (this.socket === null) {
      if (now >= this.retryAt) this.#connect();
    } else if (silentMs > GIVE_UP_AFTER_MS) {
      const socket = this.socket;
      this.#lost();
      socket.close();
    } else if (this.onOpen !== null && silentMs > PING_AFTER_MS) {
      this.send({ method: "ping" });
    }
    this.#tell();
  }

  #tell() {
    const now = performance.now();
    const silentMs = now - this.heardAt;
    const silentS = this.heardAt < 0 ? -1 : Math.floor(silentMs / 1000);
    const retryS = this.socket ? 0 : Math.max(0, Math.ceil((this.retryAt - now) / 1000));
    /** @type {Status["kind"]} */
    let kind = "live";
    if (this.socket === null) kind = "offline";
    else if (this.heardAt < this.openedAt) kind = this.failures ? "offline" : "connecting";
    else if (silentMs > STALE_AFTER_MS) kind = "stale";
    this.onStatus({ kind, silentS, retryS });
  }
}

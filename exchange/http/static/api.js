// @ts-check
/** Calls of the exchange over REST: the key goes in a header, integers come as strings. */

/** A call that the exchange refused, or that did not reach it. */
export class ApiError extends Error {
  /**
   * @param {number} status of HTTP; 0 where nothing answered
   * @param {string} code the reason, such as INSUFFICIENT_FUNDS
   * @param {string} message for people
   * @param {string | null} param the field that is wrong
   */
  constructor(status, code, message, param = null) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.param = param;
  }
}

/**
 * @typedef {object} Options
 * @property {Record<string, string | number | bigint | boolean | undefined>} [query]
 * @property {any} [body]
 */

export class Api {
  /** @param {() => string} key the key now; empty for none */
  constructor(key) {
    this.key = key;
  }

  /**
   * The answer of one call.
   * @param {string} method
   * @param {string} path
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  async call(method, path, options = {}) {
    const response = await this.#fetch(method, path, options);
    return response.json();
  }

  /**
   * @param {string} path
   * @param {Options["query"]} [query]
   */
  get(path, query) {
    return this.call("GET", path, { query });
  }

  /**
   * @param {string} path
   * @param {any} body
   */
  post(path, body) {
    return this.call("POST", path, { body });
  }

  /**
   * Messages of a stream of server-sent events, as they come; ends with the stream.
   * @param {string} path
   * @param {Options} options
   * @returns {AsyncGenerator<any>}
   */
  async *stream(path, options) {
    const response = await this.#fetch("GET", path, options);
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    const decoder = new TextDecoder();
    const events = new Events();
    while (true) {
      const { done, value } = await reader.read();
      if (done) return;
      for (const { event, data } of events.take(decoder.decode(value, { stream: true }))) {
        if (event === "error") throw refusal(0, JSON.parse(data));
        yield JSON.parse(data);
      }
    }
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {Options} options
   */
  async #fetch(method, path, { query, body }) {
    const given = Object.entries(query ?? {}).filter(([, value]) => value !== undefined);
    const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
    /** @type {Record<string, string>} */
    const headers = {};
    const key = this.key();
    if (key) headers.Authorization = `Bearer ${key}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(text ? `${path}?${text}` : path, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store",
      });
    } catch {
      throw new ApiError(0, "UNREACHABLE", "the exchange cannot be reached");
    }
    if (!response.ok) throw refusal(response.status, await response.json().catch(() => ({})));
    return response;
  }
}

/**
 * @param {number} status
 * @param {any} said
 */
function refusal(status, said) {
  const error = said?.error ?? {};
  const message = error.message ?? `the exchange answered with status ${status}`;
  return new ApiError(status, error.code ?? "UNKNOWN", message, error.param ?? null);
}

/** Takes server-sent events apart, wherever the network cut them. */
export class Events {
  constructor() {
    this.rest = "";
  }

  /**
   * @param {string} text
   * @returns {{event: string, data: string}[]} the events that are complete now
   */
  take(text) {
    const blocks = (this.rest + text).split(/\r?\n\r?\n/);
    this.rest = /** @type {string} */ (blocks.pop());
    const found = [];
    for (const block of blocks) {
      let event = "message";
      const data = [];
      for (const line of block.split(/\r?\n/)) {
        if (line.startsWith("event:")) event = line.slice(6).trim();
        else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
      }
      if (data.length) found.push({ event, data: data.join("\n") });
    }
    return found;
  }
}

/**
 * A fresh id for a client's own use, a UUIDv7, as ProtoJSON carries bytes: in base64.
 * @param {number} [nowMs]
 */
export function freshId(nowMs = Date.now()) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  for (let i = 0; i < 6; i += 1) bytes[i] = Math.floor(nowMs / 2 ** (8 * (5 - i))) % 256;
  bytes[6] = 0x70 | (bytes[6] & 0x0f);
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  return btoa(String.fromCharCode(...bytes));
}

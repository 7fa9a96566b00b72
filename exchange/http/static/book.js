// @ts-check
/** A book as its reader holds it: from a snapshot and deltas, checked at every message. No DOM. */

/**
 * @typedef {object} Level
 * @property {bigint} price nano-dollars per CU
 * @property {bigint} quantity MFLOP; on a batch book slots or jobs
 * @property {number} orders
 */

/** @typedef {{ok: true} | {gap: {held: bigint, previous: bigint}} | {checksum: {held: number, told: number}}} Outcome */

/** The checksum covers this many levels of each side. */
const CHECKSUM_LEVELS = 10;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc >>> 0;
});

/**
 * CRC-32 of an ASCII text, as zlib has it.
 * @param {string} text
 */
export function crc32(text) {
  let crc = 0xffffffff;
  for (let at = 0; at < text.length; at += 1) {
    crc = CRC_TABLE[(crc ^ text.charCodeAt(at)) & 0xff] ^ (crc >>> 8);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/** One side: levels by price, and in order once somebody looks. */
class Side {
  /** @param {1 | -1} direction 1: the lowest price is the best */
  constructor(direction) {
    this.direction = direction;
    /** @type {Map<bigint, Level>} */
    this.levels = new Map();
    /** @type {Level[] | null} */
    this.ordered = null;
  }

  /** @param {{price_nanos: string, quantity: string, orders: number}[]} changes */
  change(changes) {
    for (const { price_nanos, quantity, orders } of changes) {
      const level = { price: BigInt(price_nanos), quantity: BigInt(quantity), orders };
      if (level.quantity) this.levels.set(level.price, level);
      else this.levels.delete(level.price);
    }
    if (changes.length) this.ordered = null;
  }

  /** Best first. */
  best() {
    this.ordered ??= [...this.levels.values()].sort(
      (one, other) => (one.price < other.price ? -1 : 1) * this.direction,
    );
    return this.ordered;
  }

  text() {
    const top = this.best().slice(0, CHECKSUM_LEVELS);
    return top.map(({ price, quantity }) => `${price}:${quantity},`).join("");
  }
}

/**
 * Takes the messages of one subscription to the channel `book`, as they come over the WebSocket.
 *
 * Where `apply` finds a gap or another checksum, nothing is held any more: unsubscribe and subscribe
 * again; the snapshot that follows makes it whole.
 */
export class Book {
  constructor() {
    this.#clear();
  }

  /** Forget everything. */
  #clear() {
    this.bidSide = new Side(-1);
    this.askSide = new Side(1);
    /** Of the last message; -1 where nothing is held. */
    this.sequence = -1n;
    this.lastPrice = 0n;
    this.timeNs = 0n;
    this.state = "";
    /** @type {Record<string, string> | null} */
    this.auction = null;
  }

  /** Bid levels, highest price first. */
  get bids() {
    return this.bidSide.best();
  }

  /** Ask levels, lowest price first. */
  get asks() {
    return this.askSide.best();
  }

  /** CRC-32 over the best levels, as docs/reference/market-data.md defines it. */
  checksum() {
    return crc32(`${this.bidSide.text()}|${this.askSide.text()}`);
  }

  /**
   * The next message.
   * @param {{data: any}} message
   * @returns {Outcome}
   */
  apply({ data }) {
    if (data.snapshot) {
      this.#clear();
    } else {
      const held = this.sequence;
      const previous = BigInt(data.previous_sequence);
      if (held < 0n || previous !== held) {
        this.#clear();
        return { gap: { held, previous } };
      }
    }
    const found = data.snapshot ?? data.delta;
    this.bidSide.change(found.bids);
    this.askSide.change(found.asks);
    this.sequence = BigInt(found.sequence);
    this.lastPrice = BigInt(found.last_price_nanos);
    this.timeNs = BigInt(found.event_time_ns);
    this.state = found.state;
    this.auction = found.auction ?? null;
    const held = this.checksum();
    if (held !== found.checksum) {
      this.#clear();
      return { checksum: { held, told: found.checksum } };
    }
    return { ok: true };
  }
}

// @ts-check
/** What a receipt says was done: its signed bytes taken apart, as docs/reference/receipts.md has them. Pure. */

/** Length of what stands before the trace: mark, lease, fence, cause, FLOPs, seed, three digests, length. */
const TRACE_LENGTH_AT = 18 + 8 + 12 + 1 + 8 + 8 + 3 * 32;
const DECISIONS = ["go on", "answer", "hopeless", "price", "steps", "budget"];
const PPM = 1_000_000;

/**
 * @typedef {object} Step
 * @property {number} experts how many experts took part
 * @property {number} now probability that the token is right as it stands
 * @property {number} ever probability that it will ever be
 */
/** @typedef {{steps: Step[], decision: string, token: number}} Thought */
/**
 * @typedef {object} Trace
 * @property {"dense" | "adaptive"} kind
 * @property {number} prompt tokens read
 * @property {number} decoded decode steps of a dense model
 * @property {Thought[]} thoughts one for each token that an adaptive model thought about
 */

/** @param {string} text base64 */
export function bytesOf(text) {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}

/**
 * @param {Uint8Array} signed what the worker signed
 * @returns {{flops: bigint, trace: Trace | null}} the trace is null where it is of no kind known here
 */
export function readSigned(signed) {
  const view = new DataView(signed.buffer, signed.byteOffset, signed.byteLength);
  const flops = view.getBigUint64(18 + 8 + 12 + 1, true);
  const length = view.getUint32(TRACE_LENGTH_AT, true);
  const from = TRACE_LENGTH_AT + 4;
  if (signed.byteLength !== from + length) throw new RangeError("these are not a receipt's signed bytes");
  return { flops, trace: readTrace(new DataView(signed.buffer, signed.byteOffset + from, length)) };
}

/** @param {DataView} view @returns {Trace | null} */
function readTrace(view) {
  const mark = String.fromCharCode(...[0, 1, 2, 3].map((at) => view.getUint8(at)));
  const prompt = view.getUint32(4, true);
  if (mark === "DNS1") return { kind: "dense", prompt, decoded: view.getUint32(8, true), thoughts: [] };
  if (mark !== "ADP1") return null;
  // Behind the prompt's tokens: the budget and six numbers of the policy.
  let at = 8 + 8 + 6 * 8;
  const count = view.getUint8(at);
  at += 1;
  /** @type {Thought[]} */
  const thoughts = [];
  for (let i = 0; i < count; i += 1) {
    const steps = view.getUint8(at);
    const decision = DECISIONS[view.getUint8(at + 1)] ?? "unknown";
    const token = view.getInt16(at + 2, true);
    at += 8;
    /** @type {Step[]} */
    const found = [];
    for (let step = 0; step < steps; step += 1, at += 14) {
      found.push({
        experts: ones(view.getUint16(at, true)),
        now: view.getUint32(at + 2, true) / PPM,
        ever: view.getUint32(at + 6, true) / PPM,
      });
    }
    thoughts.push({ steps: found, decision, token });
  }
  return { kind: "adaptive", prompt, decoded: 0, thoughts };
}

/** @param {number} bits */
function ones(bits) {
  let count = 0;
  for (let rest = bits; rest; rest &= rest - 1) count += 1;
  return count;
}

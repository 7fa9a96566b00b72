// @ts-check
/** One question and what becomes of it: bid, fill, tokens, receipt, bill. No DOM. */

import { freshId } from "./api.js";
import { Topic } from "./observe.js";
import { bytesOf, readSigned } from "./trace.js";

/** @typedef {import("./api.js").Api} Api */

/**
 * @typedef {object} Asked
 * @property {string} text
 * @property {string} model
 * @property {string} tier
 * @property {bigint} value what the answer is worth, nano-dollars; 0 where only the cost is bounded
 * @property {bigint} cap what it may cost at most, nano-dollars; 0 for no more than it is worth
 * @property {number} deadlineS
 * @property {number} tokens most tokens of the answer
 * @property {boolean} tell whether the worker learns what it is worth, so that thinking can stop by it
 */

/** @typedef {{at: number, kind: "bid" | "fill" | "start" | "void" | "end" | "receipt", text?: string}} Moment */
/** @typedef {{text: string, tokens: number}} Chunk */

const BACK_AFTER_MS = 1000;
/** A bid that waits is asked about so often. */
const WHY_EVERY_MS = 500;
const RECEIPT_TRIES = 5;
const ENDED = ["JOB_STATE_SETTLED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED", "JOB_STATE_FAILED"];

/**
 * The most that a job may cost, nano-dollars: what is held for it or, after its end, what it was worth or bid.
 * @param {any} job
 */
export function budgetOf(job) {
  const held = BigInt(job.escrow_nanos ?? 0);
  if (held > 0n) return held;
  const value = BigInt(job.value_nanos ?? 0);
  return value > 0n ? value : (BigInt(job.limit_nanos ?? 0) * BigInt(job.quantity_mflop ?? 0) + 999_999n) / 1_000_000n;
}

/** Whether a job has ended. @param {any} job */
export function ended(job) {
  return ENDED.includes(job?.state);
}

export class Run {
  /**
   * @param {Api} api
   * @param {Asked} asked
   */
  constructor(api, asked) {
    this.api = api;
    this.asked = asked;
    this.topic = new Topic();
    this.beganAt = performance.now();
    /** The newest state of the job. @type {any} */
    this.job = null;
    /** The most money that was held for it, nano-dollars. */
    this.held = 0n;
    /** @type {Chunk[]} */
    this.chunks = [];
    this.attempt = 0;
    /** What happened, and when: milliseconds after the question. @type {Moment[]} */
    this.moments = [];
    this.firstTokenAt = 0;
    this.lastTokenAt = 0;
    /** @type {any} */
    this.receipt = null;
    /** @type {import("./trace.js").Trace | null} */
    this.trace = null;
    /** Why it waits, as `ExplainJob` tells it; null before it was asked. @type {any} */
    this.why = null;
    this.error = "";
    this.over = false;
    this.stopping = false;
  }

  get text() {
    return this.chunks.map(({ text }) => text).join("");
  }

  get tokens() {
    return this.chunks.reduce((sum, { tokens }) => sum + tokens, 0);
  }

  /** Tokens a second, from the first to the last; 0 before there are two. */
  get tokensPerS() {
    const span = (this.lastTokenAt - this.firstTokenAt) / 1000;
    return span > 0 ? (this.tokens - (this.chunks[0]?.tokens ?? 0)) / span : 0;
  }

  /** What it bids now in this instrument, nano-dollars per CU; 0 where that is not known. @param {string} instrument */
  bidIn(instrument) {
    const option = this.why?.options?.find((/** @type {any} */ one) => one.instrument === instrument);
    return this.job?.state === "JOB_STATE_QUEUED" ? Number(option?.bid_nanos ?? 0) : 0;
  }

  /** Ask, and follow the job to its end. */
  async start() {
    try {
      const { job } = await this.api.post("/v1/jobs", request(this.asked));
      this.#note("bid");
      this.#changed(job);
      this.#explain();
      await this.#follow();
      await this.#settle();
    } catch (error) {
      this.error = /** @type {Error} */ (error).message;
    }
    this.over = true;
    this.topic.touch();
  }

  /** Stop the work and the bill. */
  async cancel() {
    if (this.job === null || this.over || this.stopping) return;
    this.stopping = true;
    this.topic.touch();
    try {
      await this.api.post(`/v1/jobs/${this.job.job_id}/cancel`, {});
    } catch (error) {
      this.error = /** @type {Error} */ (error).message;
      this.stopping = false;
      this.topic.touch();
    }
  }

  /** Read what happens, and go on where a broken stream ended. */
  async #follow() {
    while (true) {
      const query = { from_index: this.chunks.length, attempt: this.attempt };
      try {
        for await (const update of this.api.stream(`/v1/jobs/${this.job.job_id}/events`, { query })) this.#take(update);
        if (ended(this.job)) return;
      } catch (error) {
        const { status } = /** @type {import("./api.js").ApiError} */ (error);
        if (status >= 400 && status < 500) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, BACK_AFTER_MS));
    }
  }

  /** Ask why it waits, and what it bids meanwhile, for as long as it does. */
  async #explain() {
    while (!this.over && !ended(this.job)) {
      if (this.job.state === "JOB_STATE_QUEUED") {
        // What cannot be told now is asked again; whether the job goes on is told by its stream.
        this.why = await this.api.get(`/v1/jobs/${this.job.job_id}/why`).catch(() => null);
        this.topic.touch();
      }
      await new Promise((resolve) => setTimeout(resolve, WHY_EVERY_MS));
    }
  }

  /** @param {any} update as `WatchJob` sends it */
  #take(update) {
    if (update.job) this.#changed(update.job);
    else if (update.chunk) this.#chunk(update.chunk);
  }

  /** @param {any} job */
  #changed(job) {
    const before = this.job?.state ?? "";
    this.job = job;
    const escrow = BigInt(job.escrow_nanos ?? 0);
    if (escrow > this.held) this.held = escrow;
    if (job.attempt !== this.attempt) this.#begin(job.attempt);
    if (job.state !== before) {
      if (job.state === "JOB_STATE_LEASED" || (job.state === "JOB_STATE_RUNNING" && before !== "JOB_STATE_LEASED")) this.#note("fill");
      if (ended(job)) {
        // It may have been filled and ended between two looks.
        if (job.lease_id !== "0" && job.lease_id && !this.moments.some(({ kind }) => kind === "fill")) this.#note("fill");
        this.#note("end");
      }
    }
    this.topic.touch();
  }

  /** What was given by an earlier attempt is void. @param {number} attempt */
  #begin(attempt) {
    if (this.attempt && this.chunks.length) this.#note("void");
    this.attempt = attempt;
    this.chunks = [];
    this.firstTokenAt = 0;
  }

  /** @param {any} chunk */
  #chunk(chunk) {
    if (chunk.attempt !== this.attempt) this.#begin(chunk.attempt);
    if (chunk.index !== this.chunks.length) return;
    this.chunks.push({ text: chunk.text, tokens: chunk.tokens });
    this.lastTokenAt = performance.now() - this.beganAt;
    if (!this.firstTokenAt) {
      this.firstTokenAt = this.lastTokenAt;
      this.#note("start");
    }
    this.topic.touch();
  }

  /** Fetch the receipt, once it is there. */
  async #settle() {
    if (!this.job.lease_id || this.job.lease_id === "0") return;
    for (let left = RECEIPT_TRIES; left > 0 && this.receipt === null; left -= 1) {
      try {
        const { receipt } = await this.api.get(`/v1/jobs/${this.job.job_id}/receipt`);
        this.receipt = receipt;
        this.trace = readSigned(bytesOf(receipt.signed_bytes)).trace;
        this.#note("receipt");
      } catch (error) {
        if (/** @type {import("./api.js").ApiError} */ (error).status !== 404) throw error;
        if (this.job.state !== "JOB_STATE_SETTLED") return;
        await new Promise((resolve) => setTimeout(resolve, BACK_AFTER_MS / 2));
      }
    }
  }

  /** @param {Moment["kind"]} kind */
  #note(kind) {
    this.moments.push({ kind, at: performance.now() - this.beganAt });
  }
}

/**
 * The job as it is submitted. Where only the cost is bounded, the answer counts as worth that much.
 * @param {Asked} asked
 */
function request(asked) {
  const value = asked.value || asked.cap;
  return {
    client_job_id: freshId(),
    model: asked.model,
    tier: asked.tier,
    input: {
      messages: [{ role: "user", content: asked.text }],
      output_tokens_max: asked.tokens,
      answer_value_nanos: String(asked.tell ? value : 0n),
    },
    value_nanos: String(value),
    max_cost_nanos: String(asked.cap),
    deadline_ns: String(BigInt(asked.deadlineS) * 1_000_000_000n),
  };
}

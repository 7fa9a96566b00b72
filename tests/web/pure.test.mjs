/** What the page computes without a browser: figures, trades, candles, depth, receipts, events. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

const { Events, freshId } = await load("api");
const { barOf, barsOf, merged } = await load("candles");
const { curves, nearest, steps, sumAt } = await load("depth");
const format = await load("format");
const { Store, TRADES_KEPT, cumulated, spread } = await load("store");
const { readSigned } = await load("trace");

/** A module that imports nothing: as a data URL it is an ES module for every version of Node. */
async function load(name) {
  const source = await readFile(new URL(`../../exchange/http/static/${name}.js`, import.meta.url));
  return import(`data:text/javascript;base64,${source.toString("base64")}`);
}

const SECOND_NS = 1_000_000_000n;

function trade(number, price, atS = number, instrument = 1) {
  return {
    trade_id: String(number),
    instrument_id: instrument,
    price_nanos: price,
    quantity_mflop: "10",
    event_time_ns: String(BigInt(atS) * SECOND_NS),
    taker_side: "bid",
  };
}

function overview(sequence, trades, uptime = 1) {
  return { sequence, trades, uptime_s: uptime, instruments: [], workers: [] };
}

test("money is exact, to the nano-dollar", () => {
  assert.equal(format.money(0), "$0.00");
  assert.equal(format.money("8000"), "$0.000008");
  assert.equal(format.money(1_500_000_000n), "$1.50");
  assert.equal(format.money(-(2n ** 62n)), "−$4,611,686,018.427387904");
  assert.equal(format.fullMoney("10"), "$0.000000010");
});

test("amounts and quantities that are typed are read exactly, or not at all", () => {
  assert.equal(format.nanosOf(" $0.001 "), 1_000_000n);
  assert.equal(format.nanosOf("123456789.123456789"), 123456789123456789n);
  for (const text of ["", "-1", "1e3", "0.0000000001", "1,000", "."]) assert.equal(format.nanosOf(text), null, text);
  assert.equal(format.mflopOf("2.5"), 2_500_000n);
  for (const text of ["", "0", "0.0000001", "x"]) assert.equal(format.mflopOf(text), null, text);
});

test("figures have their unit", () => {
  assert.equal(format.mflop("1234567"), "1.235 TFLOP");
  assert.equal(format.flops("999"), "999 FLOP");
  assert.equal(format.integer("9007199254740993"), "9,007,199,254,740,993");
  assert.equal(format.percent(0.005), "0.50 %");
  assert.equal(format.duration(3_700), "1 h 1 min");
  assert.equal(format.words("JOB_STATE_SETTLED", "JOB_STATE_"), "settled");
  assert.equal(format.words("STOP_CAUSE_UNSPECIFIED"), "");
});

test("a trade is counted once, wherever it comes from, and put in its order", () => {
  const store = new Store();
  store.take(overview(1, [trade(3, 100), trade(4, 110)]));
  assert.deepEqual(store.newest(1, 9).map(({ trade_id, move }) => [trade_id, move]), [["4", 1], ["3", 0]]);
  // The market's stream begins with older ones.
  store.takeTrades([trade(1, 120), trade(2, 90), trade(3, 100), trade(4, 110), trade(5, 105)]);
  assert.deepEqual(
    store.newest(1, 9).map(({ trade_id, move }) => [trade_id, move]),
    [["5", -1], ["4", 1], ["3", 1], ["2", -1], ["1", 0]],
  );
  store.take(overview(2, [trade(5, 105)]));
  assert.equal(store.trades.length, 5);
});

test("trades that are kept are bounded, and another exchange's are forgotten", () => {
  const store = new Store();
  store.take(overview(10, Array.from({ length: TRADES_KEPT + 50 }, (_, i) => trade(i + 1, 100))));
  assert.equal(store.trades.length, TRADES_KEPT);
  assert.equal(store.known.size, TRADES_KEPT);
  store.take(overview(3, [trade(1, 50)]));
  assert.deepEqual(store.trades.map(({ price_nanos }) => price_nanos), [50]);
});

test("levels are summed up from the best", () => {
  assert.deepEqual(cumulated([[10, "5", 1], [9, 7, 2]]).map(({ sum }) => sum), [5n, 12n]);
  assert.equal(spread({ bids: [], asks: [[10, 1, 1]] }), null);
  assert.deepEqual(spread({ bids: [[9, 1, 1]], asks: [[10, 1, 1]] }), { nanos: 1, share: 0.1 });
});

test("candles are made of trades, and the exchange's take their place", () => {
  const bars = barsOf([trade(1, 100, 59), trade(2, 130, 60), trade(3, 90, 61), trade(4, 120, 119)], 60);
  assert.deepEqual(bars, [
    { time: 0, open: 100, high: 100, low: 100, close: 100, volume: 10 },
    { time: 60, open: 130, high: 130, low: 90, close: 120, volume: 30 },
  ]);
  const told = barOf({ start_time_ns: "60000000000", open_nanos: "1", high_nanos: "4", low_nanos: "1", close_nanos: "2", volume_mflop: "7" });
  assert.deepEqual(merged(bars, [told]), [bars[0], { time: 60, open: 1, high: 4, low: 1, close: 2, volume: 7 }]);
});

test("depth is read at any price", () => {
  const shown = curves([[10, 5, 1], [8, 5, 1]], [[12, 3, 1]]);
  assert.equal(shown.top, 10);
  assert.deepEqual(sumAt(shown, 9), { side: "bid", sum: 5 });
  assert.deepEqual(sumAt(shown, 8), { side: "bid", sum: 10 });
  assert.equal(sumAt(shown, 11), null);
  assert.deepEqual(sumAt(shown, 99), { side: "ask", sum: 3 });
  assert.deepEqual(steps(shown.asks, 20).map(({ price, sum }) => [price, sum]), [[12, 0], [12, 3], [20, 3]]);
  assert.equal(curves([], []), null);
});

test("a waiting job's bid is found in the book", () => {
  assert.equal(nearest([[500, 1, 1], [104, 1, 1], [90, 1, 1]], 100), 104);
  assert.equal(nearest([[500, 1, 1]], 100), null);
});

test("events are whole, wherever the network cuts them", () => {
  const text = ': hello\n\ndata: {"a":1}\n\nevent: error\ndata: {"b":\ndata: 2}\n\n';
  for (let at = 0; at <= text.length; at += 1) {
    const events = new Events();
    assert.deepEqual(
      [...events.take(text.slice(0, at)), ...events.take(text.slice(at))],
      [{ event: "message", data: '{"a":1}' }, { event: "error", data: '{"b":\n2}' }],
    );
  }
});

test("ids are UUIDs of version 7, and rise with time", () => {
  const bytes = Buffer.from(freshId(0x0123456789ab), "base64");
  assert.equal(bytes.length, 16);
  assert.equal(bytes.subarray(0, 6).toString("hex"), "0123456789ab");
  assert.equal(bytes[6] >> 4, 7);
  assert.equal(bytes[8] >> 6, 2);
});

test("a receipt's steps are read from its signed bytes", () => {
  const thought = Buffer.alloc(8 + 2 * 14);
  thought.writeUInt8(2, 0);
  thought.writeUInt8(1, 1);
  thought.writeInt16LE(7, 2);
  thought.writeUInt16LE(0b101, 8);
  thought.writeUInt32LE(250_000, 10);
  thought.writeUInt32LE(900_000, 14);
  thought.writeUInt16LE(0b1, 22);
  thought.writeUInt32LE(950_000, 24);
  const head = Buffer.alloc(65);
  head.write("ADP1");
  head.writeUInt32LE(24, 4);
  head.writeUInt8(1, 64);
  const trace = Buffer.concat([head, thought]);
  const fixed = Buffer.alloc(18 + 8 + 12 + 1 + 8 + 8 + 96 + 4);
  fixed.writeBigUInt64LE(12_345n, 39);
  fixed.writeUInt32LE(trace.length, fixed.length - 4);
  const { flops, trace: read } = readSigned(new Uint8Array(Buffer.concat([fixed, trace])));
  assert.equal(flops, 12_345n);
  assert.deepEqual(read, {
    kind: "adaptive",
    prompt: 24,
    decoded: 0,
    thoughts: [
      {
        decision: "answer",
        token: 7,
        steps: [{ experts: 2, now: 0.25, ever: 0.9 }, { experts: 1, now: 0.95, ever: 0 }],
      },
    ],
  });
  assert.throws(() => readSigned(new Uint8Array(Buffer.concat([fixed, trace.subarray(1)]))), RangeError);
});

/** The page's book on the vectors that Python made: `node --test tests/web/`. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

// As a data URL it is an ES module for every version of Node, as it is for browsers.
const source = await readFile(new URL("../../exchange/http/static/book.js", import.meta.url));
const { Book, crc32 } = await import(`data:text/javascript;base64,${source.toString("base64")}`);
const vectors = JSON.parse(await readFile(new URL("vectors/book.json", import.meta.url), "utf8"));

const plain = (levels) => levels.map(({ price, quantity, orders }) => [`${price}`, `${quantity}`, orders]);

for (const [name, steps] of Object.entries(vectors)) {
  test(`a book of ${name}`, () => {
    const book = new Book();
    for (const { message, held, outcome } of steps) {
      const found = book.apply(message);
      if (outcome) {
        assert.deepEqual(Object.keys(found), [outcome]);
        assert.deepEqual([book.bids, book.asks, book.sequence], [[], [], -1n]);
        continue;
      }
      assert.deepEqual(found, { ok: true });
      assert.deepEqual(
        {
          sequence: `${book.sequence}`,
          bids: plain(book.bids),
          asks: plain(book.asks),
          last_price: `${book.lastPrice}`,
          checksum: book.checksum(),
        },
        held,
      );
    }
  });
}

test("a delta before any snapshot is a gap", () => {
  const [, { message }] = vectors["ten levels"];
  assert.deepEqual(Object.keys(new Book().apply(message)), ["gap"]);
});

test("what changed is told apart from what was held", () => {
  const [first, second] = vectors["ten levels"];
  const book = new Book();
  book.apply(first.message);
  const before = book.bids;
  book.apply(second.message);
  assert.deepEqual(plain(before), first.held.bids);
});

test("the checksums of the document", () => {
  assert.equal(crc32("|"), 0x8bb1d29a);
  assert.equal(crc32("100:7,99:1,|103:4,"), 0x4a8b05e4);
});

test("an auction is told, and its end", () => {
  const book = new Book();
  const told = vectors["ten levels"].map(({ message }) => {
    book.apply(message);
    return [book.state, book.auction?.volume_mflop ?? null];
  });
  assert.ok(told.some(([state, volume]) => state === "TRADING_STATE_AUCTION" && volume === "3"));
  assert.ok(told.some(([state, volume]) => state === "TRADING_STATE_OPEN" && volume === null));
});

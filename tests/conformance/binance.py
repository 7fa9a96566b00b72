"""Rebuild a real book from its level updates: without a gap, a trade, or another best price.

    python -m tests.conformance.binance FILE... [--json]

FILE is a recording of Binance's public streams (several are read as one): a snapshot of the book,
then for every tenth of a second the levels that changed. Each such update is one test. It must
follow the one before it; the book must take it without a trade or refusal and be uncrossed after
it; and its best bid and ask, with their quantities, must be those of the best-price stream at that
point of the sequence, which the exchange publishes independently of the levels.
"""

from __future__ import annotations

import argparse
import json
import sys
from bisect import bisect_right
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from matching import Side
from tests.conformance.replay import Follower, Tally
from tests.conformance.tables import (
    BadTable,
    Row,
    decimals_of,
    open_text,
    read_table,
    refuse,
    scaled,
)

WHERE = """
The recording: https://github.com/nkaz001/hftbacktest, folder examples/spot, such as
btcusdt_20240808.gz (lines of a time in ns and a message as the exchange sent it); the next day's
file goes on where that ends, without a snapshot of its own. A table is taken too, plain or gzipped,
with the columns
  kind (snapshot, depth, bbo; others are left out), side (B or S), price, qty, seq_or_trade_id
with one row per level, the rows of one message together. The table has only the last number of each
update, so that a gap shows in the best prices alone; the messages have the first number too.
Updates that end before the snapshot are in it already and are left out. Snapshots are cut off at
some depth: where the best price has moved to a level beyond it that no update has named so far, it
cannot be known and is not compared.

Exit status: 0 all passed, 1 some failed, 2 the file could not be used.
"""

COLUMNS = ("kind", "side", "price", "qty", "seq_or_trade_id")
SIDES = {"B": Side.BID, "S": Side.ASK}

Level = tuple[Side, str, str]
"""Side, price and quantity; the numbers are texts as they came."""


class Update(NamedTuple):
    """Levels that changed in the updates number `first` (0: not known) to `last`."""

    first: int
    last: int
    levels: list[Level]


class Recording(NamedTuple):
    """One snapshot, the updates, and the best prices by number, all in ascending order."""

    snapshot: Update
    updates: list[Update]
    best: list[Update]


def read_recording(paths: list[Path]) -> Recording:
    """Recordings that follow each other, in either form.

    Raises:
        BadTable: a file is absent or malformed, or none has a snapshot.
    """
    messages = [message for path in paths for message in _messages(path)]
    snapshots = [update for kind, update in messages if kind == "snapshot"]
    if not snapshots:
        msg = f"{paths[0]}: no snapshot to begin with (is it a later part of a recording?)"
        raise BadTable(msg)
    best = sorted((update for kind, update in messages if kind == "bbo"), key=lambda u: u.last)
    return Recording(snapshots[0], [update for kind, update in messages if kind == "depth"], best)


def _messages(path: Path) -> Iterator[tuple[str, Update]]:
    with open_text(path) as lines:
        table = "," in lines.readline().partition("{")[0]
    return _table_messages(path) if table else _raw_messages(path)


def _table_messages(path: Path) -> Iterator[tuple[str, Update]]:
    def message(row: Row) -> tuple[str, str]:
        return row["kind"], row["seq_or_trade_id"]

    for (kind, sequence), rows in groupby(read_table(path, COLUMNS), key=message):
        if kind not in {"snapshot", "depth", "bbo"}:
            continue
        levels: list[Level] = []
        for row in rows:
            if row["side"] not in SIDES:
                msg = f"{path}: side {row['side']!r}"
                raise BadTable(msg)
            levels.append((SIDES[row["side"]], row["price"], row["qty"]))
        yield kind, Update(0, scaled(sequence, 0, f"{path}: seq_or_trade_id"), levels)


def _raw_messages(path: Path) -> Iterator[tuple[str, Update]]:
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                message = json.loads(line.partition(" ")[2])
                found = _raw_message(message.get("data", message))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                msg = f"{path}, line {number}: not a message of a recording: {error!r}"
                raise BadTable(msg) from error
            if found is not None:
                yield found


def _raw_message(data: dict[str, Any]) -> tuple[str, Update] | None:
    """A message by its fields: a snapshot, an update, a best-price message, or none of these."""

    def levels(bids: list[list[str]], asks: list[list[str]]) -> list[Level]:
        found = [(Side.BID, price, quantity) for price, quantity in bids]
        return found + [(Side.ASK, price, quantity) for price, quantity in asks]

    if "lastUpdateId" in data:
        last = int(data["lastUpdateId"])
        return "snapshot", Update(0, last, levels(data["bids"], data["asks"]))
    if data.get("e") == "depthUpdate":
        update = Update(int(data["U"]), int(data["u"]), levels(data["b"], data["a"]))
        return "depth", update
    if "e" not in data and "B" in data:
        best = levels([[data["b"], data["B"]]], [[data["a"], data["A"]]])
        return "bbo", Update(0, int(data["u"]), best)
    return None


class Rebuilt:
    """The book made of levels: each level is one order that stands for all at its price."""

    def __init__(self, recording: Recording) -> None:
        every = [recording.snapshot, *recording.updates, *recording.best]
        levels = [level for update in every for level in update.levels]
        self.price_places = decimals_of((price for _, price, _ in levels), "price")
        self.quantity_places = decimals_of((quantity for _, _, quantity in levels), "quantity")
        self.follower = Follower()
        known = [self.scaled(level) for level in recording.snapshot.levels]
        self.deepest = {
            Side.BID: min((price for side, price, _ in known if side == Side.BID), default=0),
            Side.ASK: max((price for side, price, _ in known if side == Side.ASK), default=0),
        }
        """The last level of each side that the snapshot reached."""

    def apply(self, levels: list[Level]) -> list[str]:
        """Set levels; returns what went wrong. What leaves goes first, so that nothing crosses."""
        scaled_levels = [self.scaled(level) for level in levels]
        gone = [level for level in scaled_levels if level[2] == 0]
        follower = self.follower
        # A level may leave that the snapshot, which is cut off at some depth, did not have.
        wrong = [follower.cancel(level[:2]) for level in gone if follower.holds(level[:2])]
        for side, price, quantity in scaled_levels:
            if quantity == 0:
                continue
            if follower.holds((side, price)):
                wrong.append(follower.change((side, price), quantity))
            else:
                wrong.append(follower.add((side, price), side, price, quantity))
        return [*wrong, follower.state()]

    def best_prices(self) -> list[tuple[Side, int, int]]:
        """Side, price and quantity of the best bid and ask."""
        return [
            (side, price, quantity)
            for side in Side
            for price, quantity, _ in self.follower.book.depth(side, 1)
        ]

    def cannot_know(self, level: tuple[Side, int, int]) -> bool:
        """Whether a level lies deeper than the snapshot reached, and was never named since."""
        side, price, _ = level
        deepest = self.deepest[side]
        beyond = price < deepest if side == Side.BID else price > deepest
        return beyond and not self.follower.knows((side, price))

    def scaled(self, level: Level) -> tuple[Side, int, int]:
        """A level in whole numbers."""
        side, price, quantity = level
        return (
            side,
            scaled(price, self.price_places, "price"),
            scaled(quantity, self.quantity_places, "quantity"),
        )


def replay(recording: Recording, tally: Tally) -> dict[str, int]:
    """Rebuild the book; counts each update, and returns what there was."""
    rebuilt = Rebuilt(recording)
    tally.count("snapshot", *rebuilt.apply(recording.snapshot.levels))
    numbers = [best.last for best in recording.best]
    updates = [update for update in recording.updates if update.last > recording.snapshot.last]
    gaps = compared = 0
    for before, update in pairwise([recording.snapshot, *updates]):
        gap = _gap(before.last, update, first=before is recording.snapshot)
        wrong = [gap, *rebuilt.apply(update.levels)]
        at = bisect_right(numbers, update.last)
        if at and numbers[at - 1] > recording.snapshot.last:
            published = [rebuilt.scaled(level) for level in recording.best[at - 1].levels]
            if not any(map(rebuilt.cannot_know, published)):
                compared += 1
                wrong.append(_difference(rebuilt.best_prices(), published))
        gaps += bool(gap)
        tally.count(f"update {update.last}", *wrong)
    tally.count("the book at the end", rebuilt.follower.finish())
    return {
        "updates": len(updates),
        "updates_before_the_snapshot": len(recording.updates) - len(updates),
        "levels_changed": sum(len(update.levels) for update in updates),
        "best_prices_compared": compared,
        "gaps": gaps,
        "trades": rebuilt.follower.trades,
    }


def _difference(found: list[tuple[Side, int, int]], published: list[tuple[Side, int, int]]) -> str:
    """What is wrong with the best prices, or nothing."""
    return "" if found == published else f"best prices {found}, published {published}"


def _gap(last: int, update: Update, first: bool) -> str:
    """What is missing between an update and what came before it, which ended with `last`.

    The first update may begin before the end of the snapshot.
    """
    if update.first == 0:
        follows = update.last > last
    else:
        follows = update.first <= last + 1 if first else update.first == last + 1
    return "" if follows else f"does not follow {last}: begins with {update.first or 'no number'}"


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance.binance",
        description=__doc__,
        epilog=WHERE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files", metavar="FILE", nargs="+", type=Path, help="a recording or a table"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and no more")
    arguments = parser.parse_args(argv)
    tally = Tally()
    try:
        recording = read_recording(arguments.files)
        facts = replay(recording, tally)
    except BadTable as error:
        return refuse(str(error))
    if not facts["updates"]:
        return refuse(f"{arguments.files[0]}: no updates after the snapshot")
    return tally.report(facts, arguments.json)


if __name__ == "__main__":
    sys.exit(main())

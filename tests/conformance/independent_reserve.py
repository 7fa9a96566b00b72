"""Replay a real order-by-order feed: every event is accepted, nothing trades, nothing crosses.

    python -m tests.conformance.independent_reserve FILE [--json]

FILE is a recording of Independent Reserve's public feed: the resting orders of a moment, then every
new order, change and cancel with its id. What would trade at once never reaches that feed, so an
engine that follows it trades nothing. Each order and event is one test: the book must accept it
without a trade or refusal and stay uncrossed, and no event may be missing before it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from matching import PRICE_MAX, Side
from tests.conformance.replay import Follower, Tally
from tests.conformance.tables import (
    BadTable,
    decimals_of,
    open_text,
    read_table,
    refuse,
    scaled,
)

WHERE = """
The recording: https://github.com/bmoscon/cryptofeed, folder sample_data. There, FILE is
INDEPENDENT_RESERVE.ws.1.0, the events of several books; the resting orders are then read from
INDEPENDENT_RESERVE.http.0.0, which must lie beside it (or be named). Otherwise FILE is a table of
one book, plain or gzipped, with the columns
  event (snapshot, new, change, cancel), exch_ms, side (B or S), order_id, price, volume, nonce
where snapshot rows carry the snapshot's time and nonce counts the events (it may be empty).
Events at or before the snapshot's time are in the snapshot already and are left out, but for those
that it missed by a few milliseconds: new orders that it lacks, cancels of orders that it still has.
Orders at a price outside the engine's range, in ticks of the feed (zero, after somebody's rounding,
or ten thousand times the market's), are left out and counted.

Exit status: 0 all passed, 1 some failed, 2 the file could not be used.
"""

COLUMNS = ("event", "exch_ms", "side", "order_id", "price", "volume", "nonce")
RAW_EVENTS = {"NewOrder": "new", "OrderChanged": "change", "OrderCanceled": "cancel"}
SIDES = {"B": Side.BID, "S": Side.ASK, "LimitBid": Side.BID, "LimitOffer": Side.ASK}


class Event(NamedTuple):
    """One line of the feed; numbers are texts as they came, empty where there is none."""

    kind: str
    at_ms: int
    side: str
    order_id: str
    price: str
    volume: str
    nonce: str


class Feed(NamedTuple):
    """One book's resting orders, in the order of the file, and its events."""

    name: str
    snapshot: list[Event]
    events: list[Event]


def read_feeds(path: Path, snapshots: Path | None = None) -> list[Feed]:
    """The books of a recording, in either form.

    Raises:
        BadTable: a file is absent or malformed.
    """
    with open_text(path) as lines:
        raw = lines.readline().startswith("wss://")
    if not raw:
        return [_read_feed(path)]
    beside = path.with_name(path.name.replace(".ws.1.0", ".http.0.0"))
    return list(_read_recording(path, snapshots or beside))


def _read_feed(path: Path) -> Feed:
    feed = Feed(path.name, [], [])
    for row in read_table(path, COLUMNS):
        at_ms = scaled(row["exch_ms"], 0, f"{path}: exch_ms")
        event = Event(
            row["event"],
            at_ms,
            row["side"],
            row["order_id"],
            row["price"],
            row["volume"],
            row["nonce"],
        )
        if event.kind not in {"snapshot", *RAW_EVENTS.values()} or event.side not in SIDES:
            msg = f"{path}: event {event.kind!r} on side {event.side!r}"
            raise BadTable(msg)
        (feed.snapshot if event.kind == "snapshot" else feed.events).append(event)
    return feed


def _read_recording(path: Path, snapshots: Path) -> Iterator[Feed]:
    """Each book of which there is a snapshot, with the events of its currency."""
    events: dict[str, list[dict[str, Any]]] = defaultdict(list)
    try:
        for message in _messages(path, r"^[\d.]+: (\{.*)$"):
            if message.get("Event") in RAW_EVENTS:
                events[message["Channel"]].append(message)
        for orders in _messages(snapshots, r"^https://\S*GetAllOrders\S* -> [\d.]+: (\{.*)$"):
            bought = orders["PrimaryCurrencyCode"].lower()
            paid = orders["SecondaryCurrencyCode"].lower()
            wanted = [_event(message, paid) for message in events[f"orderbook-{bought}"]]
            yield Feed(f"{bought}-{paid}", _resting(orders), wanted)
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        msg = f"{path} or {snapshots}: not the messages of the feed: {error!r}"
        raise BadTable(msg) from error


def _resting(orders: dict[str, Any]) -> list[Event]:
    created = datetime.fromisoformat(orders["CreatedTimestampUtc"])
    at_ms = int(created.timestamp()) * 1_000 + created.microsecond // 1_000
    return [
        Event("snapshot", at_ms, side, order["Guid"], order["Price"], order["Volume"], "")
        for side, name in (("B", "BuyOrders"), ("S", "SellOrders"))
        for order in orders[name]
    ]


def _event(message: dict[str, Any], paid: str) -> Event:
    data = message["Data"]
    return Event(
        RAW_EVENTS[message["Event"]],
        int(message["Time"]),
        data["OrderType"],
        data["OrderGuid"],
        data.get("Price", {}).get(paid, ""),
        data.get("Volume", ""),
        message["Nonce"],
    )


def _messages(path: Path, pattern: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a recording's lines that match; numbers stay texts."""
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            found = re.match(pattern, line)
            if found is None:
                continue
            try:
                message = json.loads(found[1], parse_float=str, parse_int=str)
            except ValueError as error:
                msg = f"{path}, line {number}: {error}"
                raise BadTable(msg) from error
            yield message


def replay(feed: Feed, tally: Tally) -> dict[str, int]:
    """Follow one book; counts each order and event, and returns what there was."""
    every = feed.snapshot + feed.events
    price_places = decimals_of((e.price for e in every if e.price), f"{feed.name}: price")
    volume_places = decimals_of((e.volume for e in every if e.volume), f"{feed.name}: volume")
    follower = Follower()

    def scaled_price(event: Event) -> int:
        return scaled(event.price, price_places, f"{feed.name}: price")

    def follow(event: Event) -> str:
        if event.kind == "cancel":
            return follower.cancel(event.order_id)
        volume = scaled(event.volume, volume_places, f"{feed.name}: volume")
        if event.kind == "change":
            # What has traded in full is changed to nothing.
            if volume == 0:
                return follower.cancel(event.order_id)
            return follower.change(event.order_id, volume)
        return follower.add(event.order_id, SIDES[event.side], scaled_price(event), volume)

    beyond = {e.order_id for e in every if e.price and not 0 < scaled_price(e) <= PRICE_MAX}
    gaps = _gaps(feed.events)
    events = _after_snapshot(feed)
    for event in feed.snapshot + events:
        if event.order_id not in beyond:
            tally.count(_name(feed, event), gaps.get(event, ""), follow(event), follower.state())
    replayed = set(events)
    for event, missing in gaps.items():
        if event not in replayed:
            tally.count(_name(feed, event), missing)
    tally.count(f"{feed.name}: the book at the end", follower.finish())
    return {
        "books": 1,
        "resting_orders": len(feed.snapshot),
        "events": len(events),
        "events_before_the_snapshot": len(feed.events) - len(events),
        "orders_beyond_the_price_range": len(beyond),
        "gaps": len(gaps),
        "trades": follower.trades,
    }


def _gaps(events: list[Event]) -> dict[Event, str]:
    """The events before which others are missing."""
    counted = [(scaled(event.nonce, 0, "nonce"), event) for event in events if event.nonce]
    return {
        event: f"events between {before} and {nonce} are missing"
        for (before, _), (nonce, event) in pairwise(counted)
        if nonce != before + 1
    }


def _after_snapshot(feed: Feed) -> list[Event]:
    """The events that the snapshot does not have in it."""
    taken_ms = max((event.at_ms for event in feed.snapshot), default=0)
    resting = {event.order_id for event in feed.snapshot}
    early = [event for event in feed.events if event.at_ms <= taken_ms]
    cancelled = {event.order_id for event in early if event.kind == "cancel"}
    missed = [
        event
        for event in early
        if (event.kind == "new" and event.order_id not in resting | cancelled)
        or (event.kind == "cancel" and event.order_id in resting)
    ]
    return missed + [event for event in feed.events if event.at_ms > taken_ms]


def _name(feed: Feed, event: Event) -> str:
    number = f" {event.nonce}" if event.nonce else ""
    return f"{feed.name}: {event.kind}{number} of order {event.order_id}"


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance.independent_reserve",
        description=__doc__,
        epilog=WHERE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="a recording or a table")
    parser.add_argument("--snapshots", type=Path, help="the .http.0.0, if not beside FILE")
    parser.add_argument("--json", action="store_true", help="print one JSON object and no more")
    arguments = parser.parse_args(argv)
    tally = Tally()
    facts: dict[str, int] = defaultdict(int)
    try:
        feeds = read_feeds(arguments.file, arguments.snapshots)
        for feed in feeds:
            for name, value in replay(feed, tally).items():
                facts[name] += value
    except BadTable as error:
        return refuse(str(error))
    if not facts["resting_orders"]:
        return refuse(f"{arguments.file}: no resting orders to begin with")
    return tally.report(facts, arguments.json)


if __name__ == "__main__":
    sys.exit(main())

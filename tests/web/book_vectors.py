"""Makes tests/web/vectors/book.json: `python -m tests.web.book_vectors`.

Messages as the exchange's own functions make them, and what a reader must hold after each. They are
made from a seed, so that a test can tell whether the committed file is what the exchange says now.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import Message

from exchange.core.commands import TradingState
from exchange.http.market.channels import Topic, data
from exchange.rpc import book_view
from exchange.rpc.book_view import BookView, Indicative, Level
from exchange.v1 import market_data_service_pb2 as pb

PATH: Final = Path(__file__).parent / "vectors" / "book.json"
SEED: Final = 7
STEPS: Final = 40


class Market:
    """A book that changes at random, of which readers see the best levels."""

    def __init__(self, seed: int, depth: int, unit: int) -> None:
        self._random = random.Random(seed)
        self._depth = depth
        self._unit = unit
        self._sides: tuple[dict[int, Level], dict[int, Level]] = ({}, {})
        self._sequence = 10**6
        self._last_price = 0
        self._auction = False

    def step(self) -> BookView:
        """The next state."""
        chance = self._random
        self._sequence += chance.randint(1, 3)
        for _ in range(chance.randint(1, 4)):
            side = chance.randrange(2)
            price = 1_000 + (side * 2 - 1) * chance.randint(1, 15)
            if chance.random() < 0.35:
                self._sides[side].pop(price, None)
            else:
                quantity = chance.randint(1, 9) * self._unit
                self._sides[side][price] = (price, quantity, chance.randint(1, 3))
        if chance.random() < 0.2:
            self._last_price = chance.randint(990, 1_010)
        if chance.random() < 0.1:
            self._auction = not self._auction
        return self.view()

    def view(self) -> BookView:
        bids, asks = self._sides
        return BookView(
            1,
            self._sequence,
            10**18 + self._sequence,
            [bids[price] for price in sorted(bids, reverse=True)][: self._depth],
            [asks[price] for price in sorted(asks)][: self._depth],
            self._last_price,
            TradingState.AUCTION if self._auction else TradingState.OPEN,
            Indicative(1_000, 3 * self._unit, -2, 0) if self._auction else None,
        )


def _message(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data(Topic("book", "paper", 10), message))
    return found


def _held(view: BookView) -> dict[str, Any]:
    return {
        "sequence": str(view.sequence),
        "bids": [[str(price), str(quantity), orders] for price, quantity, orders in view.bids],
        "asks": [[str(price), str(quantity), orders] for price, quantity, orders in view.asks],
        "last_price": str(view.last_price_nanos),
        "checksum": book_view.checksum(view.bids, view.asks),
    }


def _steps(depth: int, unit: int) -> Iterator[dict[str, Any]]:
    """A subscription that is told everything; in its middle a snapshot comes again."""
    market = Market(SEED + depth, depth, unit)
    before = market.view()
    yield {"message": _message(book_view.snapshot(before)), "held": _held(before)}
    for number in range(STEPS):
        now = market.step()
        again = number == STEPS // 2
        message = book_view.snapshot(now) if again else book_view.delta(before, now)
        yield {"message": _message(message), "held": _held(now)}
        before = now


def _broken() -> Iterator[dict[str, Any]]:
    """A message is lost, then one is damaged; a snapshot mends each."""
    market = Market(SEED, 10, 1)
    first = market.view()
    yield {"message": _message(book_view.snapshot(first)), "held": _held(first)}
    lost, after = market.step(), market.step()
    late = market.step()
    yield {"message": _message(book_view.delta(lost, after)), "outcome": "gap"}
    yield {"message": _message(book_view.delta(after, late)), "outcome": "gap"}
    yield {"message": _message(book_view.snapshot(late)), "held": _held(late)}
    now = market.step()
    delta = book_view.delta(late, now)
    damaged = pb.WatchBookResponse()
    damaged.CopyFrom(delta)
    damaged.delta.bids.add(price_nanos=999_999, quantity=1, orders=1)
    yield {"message": _message(damaged), "outcome": "checksum"}
    yield {"message": _message(delta), "outcome": "gap"}
    yield {"message": _message(book_view.snapshot(now)), "held": _held(now)}


def vectors() -> dict[str, Any]:
    """All of them by name."""
    return {
        "ten levels": list(_steps(10, 1)),
        "three levels": list(_steps(3, 1_000)),
        "many levels of quantities beyond 2^53": list(_steps(100, 2**55 + 1)),
        "damage": list(_broken()),
    }


def text() -> str:
    """The file."""
    cases = vectors().items()
    rows = (
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(step) for step in steps) + "\n]"
        for name, steps in cases
    )
    return "{\n" + ",\n".join(rows) + "\n}\n"


if __name__ == "__main__":
    PATH.write_text(text())

"""A stream of market data that is as full as can be, in place of the exchange's own."""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from typing import Any

from playwright.async_api import Page, WebSocketRoute

CHANGES = 3_000
CHANGES_PER_S = 1_000
BURST = 20
LEVELS = 20
BASE_NANOS = 1_700
LAST_MFLOP = 9_000
"""What the last change sets the best bid to."""


class Flood:
    """Answers the page's subscription to one book, and then changes it all the time.

    Attributes:
        subscriptions: How often the page has asked for the book.
    """

    COUNT = """() => {
      window.counted = { frames: 0, draws: 0 };
      let drawn = false;
      new MutationObserver(() => { drawn = true; }).observe(
        document.querySelector("#ladder"), { subtree: true, childList: true, characterData: true });
      const frame = () => {
        window.counted.frames += 1;
        if (drawn) window.counted.draws += 1;
        drawn = false;
        requestAnimationFrame(frame);
      };
      requestAnimationFrame(frame);
    }"""

    def __init__(self, page: Page, instrument: str) -> None:
        self._page = page
        self._instrument = instrument
        self._bids = {BASE_NANOS - i: 1 + i for i in range(LEVELS)}
        self._asks = {BASE_NANOS + 1 + i: 1 + i for i in range(LEVELS)}
        self._sequence = 1
        self._sockets: list[WebSocketRoute] = []
        self.subscriptions = 0

    async def route(self) -> None:
        await self._page.route_web_socket("**/ws/v1/market", self._opened)

    def _opened(self, socket: WebSocketRoute) -> None:
        socket.on_message(lambda message: self._heard(socket, json.loads(message)))

    def _heard(self, socket: WebSocketRoute, message: dict[str, Any]) -> None:
        if message["method"] == "ping":
            socket.send(json.dumps({"result": {}}))
        if message.get("channel") == "book" and message["method"] == "subscribe":
            self.subscriptions += 1
            self._sockets = [socket]
            self._send({"snapshot": self._book(self._bids, self._asks), "previous_sequence": "0"})

    async def pour(self) -> None:
        """Send all changes, at their rate where the machine lets it."""
        began_s = time.monotonic()
        for number in range(CHANGES):
            last = number == CHANGES - 1
            price = BASE_NANOS - (0 if last else number % LEVELS)
            self._bids[price] = LAST_MFLOP if last else 1_000 + number
            change = self._book({price: self._bids[price]}, {})
            previous, self._sequence = self._sequence, self._sequence + 1
            change["sequence"] = str(self._sequence)
            self._send({"delta": change, "previous_sequence": str(previous)})
            if number % BURST == 0:
                due_s = began_s + number / CHANGES_PER_S
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    def _send(self, data: dict[str, Any]) -> None:
        message = {"channel": "book", "instrument": self._instrument, "data": data}
        for socket in self._sockets:
            socket.send(json.dumps(message))

    def _book(self, bids: dict[int, int], asks: dict[int, int]) -> dict[str, Any]:
        return {
            "sequence": str(self._sequence),
            "bids": _levels(bids),
            "asks": _levels(asks),
            "checksum": zlib.crc32(f"{self._text(True)}|{self._text(False)}".encode()),
            "event_time_ns": "1",
            "last_price_nanos": str(BASE_NANOS),
            "state": "TRADING_STATE_OPEN",
        }

    def _text(self, bid: bool) -> str:
        side = self._bids if bid else self._asks
        best = sorted(side, reverse=bid)[:10]
        return "".join(f"{price}:{side[price]}," for price in best)


def _levels(side: dict[int, int]) -> list[dict[str, Any]]:
    return [{"price_nanos": str(p), "quantity": str(q), "orders": 1} for p, q in side.items()]

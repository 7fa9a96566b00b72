"""What can be watched, and how it is written: the messages of MarketDataService as ProtoJSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from google.protobuf.message import Message

from exchange.http.market.images import (
    BestImage,
    BookImage,
    Image,
    OrdersImage,
    TradesImage,
)
from exchange.http.rest.messages import to_values
from exchange.rpc.inside import public
from exchange.v1 import market_data_service_pb2 as pb

SOCKET_PATH: Final = "/ws/v1/market"
TRADES_RECENT_MAX: Final = 1_000
"""Past trades that a subscription may begin with: as many as the exchange remembers."""


class Topic(NamedTuple):
    """What a subscription is about; equal ones share one stream.

    Attributes:
        instrument: Its name; "" for all, of trades alone.
        depth: Levels of each side, of books; 0 elsewhere.
    """

    channel: str
    instrument: str
    depth: int


class Channel(NamedTuple):
    """One kind of market data.

    Attributes:
        path: The stream that it comes from.
        request: Opens that stream.
        image: Keeps what a newcomer is told first.
        conflates: Whether a slow reader gets the newest state; otherwise it is cut off.
    """

    path: str
    request: Callable[[Topic], Message]
    image: Callable[[], Image]
    conflates: bool


def _path(name: str) -> str:
    return public(f"/exchange.v1.MarketDataService/{name}")


CHANNELS: Final[Mapping[str, Channel]] = {
    "book": Channel(
        _path("WatchBook"),
        lambda topic: pb.WatchBookRequest(instrument=topic.instrument, depth=topic.depth),
        BookImage,
        conflates=True,
    ),
    "best": Channel(
        _path("WatchBestPrices"),
        lambda topic: pb.WatchBestPricesRequest(instrument=topic.instrument),
        BestImage,
        conflates=True,
    ),
    "trades": Channel(
        _path("WatchTrades"),
        lambda topic: pb.WatchTradesRequest(instrument=topic.instrument, recent=TRADES_RECENT_MAX),
        TradesImage,
        conflates=False,
    ),
    "orders": Channel(
        _path("WatchOrders"),
        lambda topic: pb.WatchOrdersRequest(instrument=topic.instrument),
        OrdersImage,
        conflates=False,
    ),
}
"""By the name that clients use."""

_encode: Final = msgspec.json.Encoder().encode


def head(channel: str, instrument: str) -> dict[str, str]:
    """What a message of a subscription begins with."""
    return {"channel": channel, "instrument": instrument}


def data(topic: Topic, message: Message) -> bytes:
    """A message of a subscription, as every subscriber gets it."""
    said: dict[str, Any] = head(topic.channel, topic.instrument)
    said["data"] = to_values(message)
    return _encode(said)

"""Books as market data: what a subscriber holds, what changed, and the checksum over both.

The exact rules are in `docs/reference/market-data.md`.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from exchange.core.commands import TradingState
from exchange.core.exchange import Exchange
from exchange.core.instruments import Instrument
from exchange.rpc.convert import enums, market
from exchange.v1 import market_data_service_pb2 as service_pb
from exchange.v1 import market_pb2 as pb

CHECKSUM_LEVELS: Final = 10
"""The checksum covers this many levels of each side, or as many as are subscribed to."""

Level = tuple[int, int, int]


class Indicative(NamedTuple):
    """How a call auction would end now.

    Attributes:
        price_nanos: Its price; 0 where nothing would trade.
        volume_mflop: What would trade.
        imbalance_mflop: What would be left: positive on the bid side.
        end_time_ns: When it ends by itself; 0: when the operator says so.
    """

    price_nanos: int
    volume_mflop: int
    imbalance_mflop: int
    end_time_ns: int


class BookView(NamedTuple):
    """One book at one moment; levels are (price, quantity, orders), best first.

    Attributes:
        sequence: Journal sequence of the state.
        event_time_ns: Journal time of the state, nanoseconds since the epoch.
    """

    instrument_id: int
    sequence: int
    event_time_ns: int
    bids: Sequence[Level]
    asks: Sequence[Level]
    last_price_nanos: int
    state: int
    auction: Indicative | None = None

    def same_market(self, other: BookView) -> bool:
        """Whether a reader would see no difference."""
        return (
            self.bids == other.bids
            and self.asks == other.asks
            and self.last_price_nanos == other.last_price_nanos
            and self.state == other.state
            and self.auction == other.auction
        )


def view(core: Exchange, instrument_id: int, levels: int) -> BookView:
    """The book now."""
    bids, asks = core.depth(instrument_id, levels)
    instrument = core.instruments[instrument_id]
    return BookView(
        instrument_id,
        core.sequence,
        core.now_ns,
        bids,
        asks,
        instrument.last_price_nanos,
        instrument.state,
        _indicative(core, instrument) if instrument.state == TradingState.AUCTION else None,
    )


def _indicative(core: Exchange, instrument: Instrument) -> Indicative:
    found = core.indicative(instrument.instrument_id)
    end_ns = instrument.call.ends_ns if instrument.call else 0
    if found is None:
        return Indicative(0, 0, 0, end_ns)
    return Indicative(found.price, found.volume, found.surplus, end_ns)


def checksum(bids: Sequence[Level], asks: Sequence[Level]) -> int:
    """CRC-32 over the top levels.

    >>> checksum([(100, 5, 1)], [(101, 7, 2), (102, 1, 1)]) == zlib.crc32(b"100:5,|101:7,102:1,")
    True
    """
    text = "".join(f"{p}:{q}," for p, q, _ in bids[:CHECKSUM_LEVELS])
    text += "|" + "".join(f"{p}:{q}," for p, q, _ in asks[:CHECKSUM_LEVELS])
    return zlib.crc32(text.encode())


def book(found: BookView) -> pb.Book:
    """The whole book."""
    return _book(found, found.bids, found.asks)


def snapshot(found: BookView) -> service_pb.WatchBookResponse:
    """First message of a subscription."""
    return service_pb.WatchBookResponse(snapshot=book(found))


def delta(old: BookView, new: BookView) -> service_pb.WatchBookResponse:
    """What turns `old` into `new`."""
    changed = _book(new, _changes(old.bids, new.bids), _changes(old.asks, new.asks))
    return service_pb.WatchBookResponse(delta=changed, previous_sequence=old.sequence)


def _book(found: BookView, bids: Sequence[Level], asks: Sequence[Level]) -> pb.Book:
    return pb.Book(
        instrument_id=found.instrument_id,
        sequence=found.sequence,
        bids=market.levels(bids),
        asks=market.levels(asks),
        checksum=checksum(found.bids, found.asks),
        event_time_ns=found.event_time_ns,
        last_price_nanos=found.last_price_nanos,
        state=enums.trading_state(found.state),
        auction=pb.IndicativeAuction(**found.auction._asdict()) if found.auction else None,
    )


def best_prices(found: BookView) -> service_pb.WatchBestPricesResponse:
    """The best level of each side."""
    return service_pb.WatchBestPricesResponse(
        instrument_id=found.instrument_id,
        sequence=found.sequence,
        bid=next(iter(market.levels(found.bids)), None),
        ask=next(iter(market.levels(found.asks)), None),
        last_price_nanos=found.last_price_nanos,
        state=enums.trading_state(found.state),
        event_time_ns=found.event_time_ns,
    )


def _changes(old: Sequence[Level], new: Sequence[Level]) -> list[Level]:
    """Levels of `new` that `old` has not, in order, then those that went, with quantity 0."""
    before = {level[0]: level for level in old}
    changes = [level for level in new if before.pop(level[0], None) != level]
    return changes + [(price, 0, 0) for price in before]

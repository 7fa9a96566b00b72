"""Instruments, books and trades, as users see them."""

from __future__ import annotations

from dataclasses import dataclass

from exchange.client.enums import ClearingMode, Settlement, Side, TradingState
from exchange.v1 import market_data_service_pb2 as service_pb
from exchange.v1 import market_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """What is traded: model / hardware class / service tier.

    Attributes:
        instrument_id: Id given by the exchange.
        name: Name, such as smollm2-135m/cpu/interactive.
        model: Model's name; empty for a paper instrument.
        hardware_class: Hardware class.
        tier: Service tier.
        settlement: What a fill gives.
        clearing_mode: How orders meet.
        state: Whether it trades.
        tick_nanos: Smallest price step, nano-dollars per CU.
        lot_mflop: Smallest quantity step, MFLOP.
        price_min_nanos: Lowest price, nano-dollars per CU.
        price_max_nanos: Highest price, nano-dollars per CU.
        quantity_max_mflop: Largest quantity of one order or job, MFLOP.
        prefill_millitokens_per_s: Prompt tokens per second and slot, in thousandths.
        decode_millitokens_per_s: Output tokens per second and slot, in thousandths.
        context_tokens_max: Longest context, tokens.
        latest_start_ns: The tier's promise: latest start after the match, nanoseconds.
    """

    name: str
    settlement: Settlement
    clearing_mode: ClearingMode
    tick_nanos: int
    lot_mflop: int
    price_min_nanos: int
    price_max_nanos: int
    quantity_max_mflop: int
    model: str = ""
    hardware_class: str = ""
    tier: str = ""
    prefill_millitokens_per_s: int = 0
    decode_millitokens_per_s: int = 0
    context_tokens_max: int = 0
    latest_start_ns: int = 0
    instrument_id: int = 0
    state: TradingState = TradingState.UNSPECIFIED


def instrument_from(message: pb.Instrument) -> Instrument:
    """An instrument of the wire."""
    return Instrument(
        name=message.name,
        settlement=Settlement(message.settlement),
        clearing_mode=ClearingMode(message.clearing_mode),
        tick_nanos=message.tick_nanos,
        lot_mflop=message.lot_mflop,
        price_min_nanos=message.price_min_nanos,
        price_max_nanos=message.price_max_nanos,
        quantity_max_mflop=message.quantity_max_mflop,
        model=message.model,
        hardware_class=message.hardware_class,
        tier=message.tier,
        prefill_millitokens_per_s=message.prefill_millitokens_per_s,
        decode_millitokens_per_s=message.decode_millitokens_per_s,
        context_tokens_max=message.context_tokens_max,
        latest_start_ns=message.latest_start_ns,
        instrument_id=message.instrument_id,
        state=TradingState(message.state),
    )


def instrument_to(instrument: Instrument) -> pb.Instrument:
    """An instrument for the wire; its id and state are the exchange's to give."""
    return pb.Instrument(
        name=instrument.name,
        settlement=instrument.settlement,  # type: ignore[arg-type]
        clearing_mode=instrument.clearing_mode,  # type: ignore[arg-type]
        tick_nanos=instrument.tick_nanos,
        lot_mflop=instrument.lot_mflop,
        price_min_nanos=instrument.price_min_nanos,
        price_max_nanos=instrument.price_max_nanos,
        quantity_max_mflop=instrument.quantity_max_mflop,
        model=instrument.model,
        hardware_class=instrument.hardware_class,
        tier=instrument.tier,
        prefill_millitokens_per_s=instrument.prefill_millitokens_per_s,
        decode_millitokens_per_s=instrument.decode_millitokens_per_s,
        context_tokens_max=instrument.context_tokens_max,
        latest_start_ns=instrument.latest_start_ns,
    )


@dataclass(frozen=True, slots=True)
class Level:
    """An aggregated price level.

    Attributes:
        price_nanos: Price, nano-dollars per CU.
        quantity: MFLOP on a continuous book; whole slots or waiting jobs on a batch book.
        orders: Number of orders or quotes.
    """

    price_nanos: int
    quantity: int
    orders: int


@dataclass(frozen=True, slots=True)
class Book:
    """A book at one moment.

    Attributes:
        instrument_id: Instrument.
        sequence: Journal sequence of the state.
        event_time_ns: Journal time of the state, nanoseconds since the epoch.
        bids: Bid levels, highest first.
        asks: Ask levels, lowest first.
        last_price_nanos: Last price traded, nano-dollars per CU; 0 where nothing traded yet.
        checksum: The exchange's CRC-32 over the top ten levels, which was checked.
    """

    instrument_id: int
    sequence: int
    event_time_ns: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    last_price_nanos: int
    checksum: int

    @property
    def best_bid(self) -> Level | None:
        """The highest bid."""
        return self.bids[0] if self.bids else None

    @property
    def best_ask(self) -> Level | None:
        """The lowest ask."""
        return self.asks[0] if self.asks else None

    @property
    def spread_nanos(self) -> int | None:
        """Lowest ask less highest bid, nano-dollars per CU; None where a side is empty."""
        if not self.bids or not self.asks:
            return None
        return self.asks[0].price_nanos - self.bids[0].price_nanos


@dataclass(frozen=True, slots=True)
class Trade:
    """A fill on a continuous book, or a lease granted by a batch.

    Attributes:
        instrument_id: Instrument.
        trade_id: Number of the trade, or of the lease.
        price_nanos: Price, nano-dollars per CU.
        quantity_mflop: Quantity, MFLOP.
        event_time_ns: Journal time, nanoseconds since the epoch.
        taker_side: The taker's side on a continuous book; UNSPECIFIED for a batch.
    """

    instrument_id: int
    trade_id: int
    price_nanos: int
    quantity_mflop: int
    event_time_ns: int
    taker_side: Side


def trade_from(message: pb.Trade) -> Trade:
    """A trade of the wire."""
    return Trade(
        message.instrument_id,
        message.trade_id,
        message.price_nanos,
        message.quantity_mflop,
        message.event_time_ns,
        Side(message.taker_side),
    )


@dataclass(frozen=True, slots=True)
class Candle:
    """Prices and volume of one interval; prices in nano-dollars per CU.

    Attributes:
        start_time_ns: Begin of the interval, nanoseconds since the epoch.
        open_nanos: First price.
        high_nanos: Highest price.
        low_nanos: Lowest price.
        close_nanos: Last price.
        volume_mflop: Quantity traded, MFLOP.
    """

    start_time_ns: int
    open_nanos: int
    high_nanos: int
    low_nanos: int
    close_nanos: int
    volume_mflop: int


def candle_from(message: service_pb.Candle) -> Candle:
    """A candle of the wire."""
    return Candle(
        message.start_time_ns,
        message.open_nanos,
        message.high_nanos,
        message.low_nanos,
        message.close_nanos,
        message.volume_mflop,
    )

"""Instruments, books and trades, as users see them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from exchange.client.enums import BookEventKind, ClearingMode, Settlement, Side, TradingState
from exchange.v1 import market_data_service_pb2 as service_pb
from exchange.v1 import market_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Protections:
    """What keeps a continuous book orderly; zero switches a protection off.

    Distances are basis points (1/10,000) of the reference price.

    Attributes:
        static_band_bps: Farthest that a trade may lie from the last auction's price.
        dynamic_band_bps: Farthest that a trade may lie from the last trade.
        volatility_move_bps: A trade farther than this from another within the window stops trading
            for an auction.
        volatility_window_ns: Length of that window, nanoseconds.
        reopening_call_ns: Length of the call auction after a halt, nanoseconds.
        reopening_collar_bps: An auction whose price lies farther off is extended.
        reopening_extension_ns: Length of an extension, nanoseconds.
        reopening_extensions: Most extensions.
        book_orders_max: Most open orders in the book.
        order_to_trade_window_ns: Length of the order-to-trade window, nanoseconds.
        order_to_trade_free: Messages of one account that are free in a window.
        order_to_trade_ratio: Further messages for each trade of the account in it.
    """

    static_band_bps: int = 0
    dynamic_band_bps: int = 0
    volatility_move_bps: int = 0
    volatility_window_ns: int = 0
    reopening_call_ns: int = 0
    reopening_collar_bps: int = 0
    reopening_extension_ns: int = 0
    reopening_extensions: int = 0
    book_orders_max: int = 0
    order_to_trade_window_ns: int = 0
    order_to_trade_free: int = 0
    order_to_trade_ratio: int = 0


def protections_to(protections: Protections) -> pb.Protections:
    """Protections for the wire."""
    return pb.Protections(**asdict(protections))


def protections_from(message: pb.Protections) -> Protections:
    """Protections of the wire."""
    return Protections(
        **{field.name: getattr(message, field.name) for field in fields(Protections)}
    )


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
        protections: What keeps its book orderly; `client.admin.set_protections` sets them.
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
    protections: Protections = Protections()


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
        protections=protections_from(message.protections),
    )


def instrument_to(instrument: Instrument) -> pb.Instrument:
    """An instrument for the wire; its id, state and protections are set elsewhere."""
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


def level_from(message: pb.Level) -> Level:
    """A level of the wire."""
    return Level(message.price_nanos, message.quantity, message.orders)


@dataclass(frozen=True, slots=True)
class IndicativeAuction:
    """How a call auction would end now.

    Attributes:
        price_nanos: Its price, nano-dollars per CU; 0 where nothing would trade.
        volume_mflop: What would trade, MFLOP.
        imbalance_mflop: What would be left: positive on the bid side, negative on the ask side.
        end_time_ns: When it ends by itself, nanoseconds since the epoch; 0: when told to.
    """

    price_nanos: int
    volume_mflop: int
    imbalance_mflop: int
    end_time_ns: int


def auction_from(message: pb.Book) -> IndicativeAuction | None:
    """A book's auction; None where there is none."""
    if not message.HasField("auction"):
        return None
    found = message.auction
    return IndicativeAuction(
        found.price_nanos, found.volume_mflop, found.imbalance_mflop, found.end_time_ns
    )


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
        state: The instrument's state.
        auction: How the call auction would end now; None where there is none.
    """

    instrument_id: int
    sequence: int
    event_time_ns: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    last_price_nanos: int
    checksum: int
    state: TradingState
    auction: IndicativeAuction | None

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
class BestPrices:
    """The best level of each side at one moment.

    Attributes:
        instrument_id: Instrument.
        sequence: Journal sequence of the state.
        event_time_ns: Journal time of the state, nanoseconds since the epoch.
        bid: Best bid; None where there is none.
        ask: Best ask; None where there is none.
        last_price_nanos: Last price traded, nano-dollars per CU; 0 where nothing traded yet.
        state: The instrument's state.
    """

    instrument_id: int
    sequence: int
    event_time_ns: int
    bid: Level | None
    ask: Level | None
    last_price_nanos: int
    state: TradingState


def best_prices_from(message: service_pb.WatchBestPricesResponse) -> BestPrices:
    """Best prices of the wire."""
    return BestPrices(
        message.instrument_id,
        message.sequence,
        message.event_time_ns,
        level_from(message.bid) if message.HasField("bid") else None,
        level_from(message.ask) if message.HasField("ask") else None,
        message.last_price_nanos,
        TradingState(message.state),
    )


@dataclass(frozen=True, slots=True)
class BookOrder:
    """A resting order, as the market sees it.

    Attributes:
        order_id: The order's id.
        side: Side.
        price_nanos: Price, nano-dollars per CU.
        quantity_mflop: Quantity shown, MFLOP.
    """

    order_id: int
    side: Side
    price_nanos: int
    quantity_mflop: int


@dataclass(frozen=True, slots=True)
class OrdersSnapshot:
    """All shown orders of a book, in the order in which they would trade: bids, then asks.

    Attributes:
        sequence: Number of the last event that is contained.
        orders: The orders.
    """

    sequence: int
    orders: tuple[BookOrder, ...]


@dataclass(frozen=True, slots=True)
class BookEvent:
    """One event of a book.

    Attributes:
        sequence: Its number in the book: one more than that of the event before it.
        kind: What happened.
        order_id: The order's id; 0 for a hidden one, and for a state.
        side: The order's side.
        price_nanos: The order's price; of a trade, the price traded; nano-dollars per CU.
        quantity_mflop: Quantity added, traded, taken away or deleted, MFLOP.
        shown_mflop: Quantity that the order still shows, MFLOP.
        state: The new state; of a state event alone.
    """

    sequence: int
    kind: BookEventKind
    order_id: int
    side: Side
    price_nanos: int
    quantity_mflop: int
    shown_mflop: int
    state: TradingState


OrdersUpdate = OrdersSnapshot | BookEvent
"""What `client.market.watch_orders` yields."""


def book_order_from(message: service_pb.BookOrder) -> BookOrder:
    """A resting order of the wire."""
    return BookOrder(
        message.order_id, Side(message.side), message.price_nanos, message.quantity_mflop
    )


def book_event_from(message: service_pb.BookEvent) -> BookEvent:
    """An event of the wire."""
    return BookEvent(
        message.sequence,
        BookEventKind(message.kind),
        message.order_id,
        Side(message.side),
        message.price_nanos,
        message.quantity_mflop,
        message.shown_mflop,
        TradingState(message.state),
    )


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
        trades: Number of trades.
    """

    start_time_ns: int
    open_nanos: int
    high_nanos: int
    low_nanos: int
    close_nanos: int
    volume_mflop: int
    trades: int


def candle_from(message: service_pb.Candle) -> Candle:
    """A candle of the wire."""
    return Candle(
        message.start_time_ns,
        message.open_nanos,
        message.high_nanos,
        message.low_nanos,
        message.close_nanos,
        message.volume_mflop,
        message.trades,
    )


@dataclass(frozen=True, slots=True)
class HourlyIndex:
    """What an hour's compute cost: a mean that odd prices move little.

    Attributes:
        start_time_ns: Begin of the hour, nanoseconds since the epoch.
        price_nanos: Trimmed mean price, weighted by volume, nano-dollars per CU.
        volume_mflop: Quantity traded between different accounts, MFLOP.
        trades: Number of those trades.
    """

    start_time_ns: int
    price_nanos: int
    volume_mflop: int
    trades: int


def hour_from(message: service_pb.HourlyIndex) -> HourlyIndex:
    """An hour's index of the wire."""
    return HourlyIndex(
        message.start_time_ns, message.price_nanos, message.volume_mflop, message.trades
    )


@dataclass(frozen=True, slots=True)
class PastBestPrices:
    """The best bid and the best ask at one time.

    Attributes:
        event_time_ns: Journal time at which they stood, nanoseconds since the epoch.
        bid_nanos: Best bid, nano-dollars per CU; 0 where there was none.
        bid_quantity: MFLOP on a continuous book, waiting jobs on a batch book.
        ask_nanos: Best ask, nano-dollars per CU; 0 where there was none.
        ask_quantity: MFLOP on a continuous book, free slots on a batch book.
    """

    event_time_ns: int
    bid_nanos: int
    bid_quantity: int
    ask_nanos: int
    ask_quantity: int


def past_best_prices_from(message: service_pb.PastBestPrices) -> PastBestPrices:
    """Past best prices of the wire."""
    return PastBestPrices(
        message.event_time_ns,
        message.bid_nanos,
        message.bid_quantity,
        message.ask_nanos,
        message.ask_quantity,
    )

"""A floor of traders on the live continuous book: calls become orders of `exchange.core`.

Each trader is an account with at most one order of one lot on either side of the book: a new call
replaces the last one. Whether it trades, with whom and at what price is the live engine's decision.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from exchange.core import commands as c
from exchange.core.accounts import EXTERNAL
from exchange.core.events import OrderAccepted, OrderFilled, Refused
from exchange.core.exchange import Exchange
from exchange.core.limits import NS_PER_MS, NS_PER_S
from matching.types import SelfTradePrevention, Side, TimeInForce

BEGIN_NS: Final = 1_780_000_000 * NS_PER_S
CALL_NS: Final = NS_PER_MS
"""Virtual time between calls."""
NANOS_PER_DOLLAR: Final = 1_000_000
"""The unit of the experiments' prices; ticks are ten-thousandths of it."""
TICK_NANOS: Final = 100
FUNDS_NANOS: Final = 10**15
LOT_MFLOP: Final = 1


class Deal(NamedTuple):
    """A trade: who bought, who sold (places of the traders), and at what price, in dollars."""

    buyer: int
    seller: int
    price: float


class Floor:
    """The book, and who stands around it."""

    def __init__(self, traders: int, price_max: float) -> None:
        self._core = Exchange()
        self._now_ns = BEGIN_NS
        self._orders: dict[tuple[int, bool], int] = {}  # (trader, buys) -> its order in the book
        self._called = 0
        self._first_account = max(EXTERNAL) + 1
        accounts = [c.OpenAccount(c.AccountKind.PAPER, f"trader-{i}") for i in range(traders)]
        funds = [
            c.Deposit(self._first_account + i, self._id(), FUNDS_NANOS) for i in range(traders)
        ]
        self._apply([*accounts, *funds, _instrument(round(price_max * NANOS_PER_DOLLAR))])
        (self.instrument_id,) = self._core.instruments

    def call(self, trader: int, buys: bool, price: float) -> Deal | None:
        """A trader calls a price; the deal that this makes, if any."""
        ticks = round(price * NANOS_PER_DOLLAR / TICK_NANOS)
        place = c.PlaceOrder(
            account_id=self._first_account + trader,
            client_order_id=self._id(),
            instrument_id=self.instrument_id,
            side=Side.BID if buys else Side.ASK,
            order_type=c.OrderType.LIMIT,
            time_in_force=TimeInForce.GTC,
            self_trade=SelfTradePrevention.CANCEL_NEWEST,
            price_nanos=max(ticks, 1) * TICK_NANOS,
            quantity_mflop=LOT_MFLOP,
            expire_time_ns=0,
            max_cost_nanos=0,
        )
        deal = None
        for event in self._apply([*self._withdrawal(trader, buys), place]):
            if isinstance(event, OrderAccepted):
                self._orders[trader, buys] = event.order_id
            elif isinstance(event, OrderFilled):
                maker = event.maker_account_id - self._first_account
                del self._orders[maker, not buys], self._orders[trader, buys]
                buyer, seller = (trader, maker) if buys else (maker, trader)
                deal = Deal(buyer, seller, event.price_nanos / NANOS_PER_DOLLAR)
        return deal

    def quote(self, trader: int, bid: int | None, ask: int | None) -> None:
        """A dealer's two quotes, in ticks, in place of its last ones; they never take.

        One that would trade rests one tick behind the best price of the other side.
        """
        commands = [*self._withdrawal(trader, True), *self._withdrawal(trader, False)]
        for side, price in ((Side.BID, bid), (Side.ASK, ask)):
            if price is not None:
                commands.append(self._resting(trader, side, price))
        for event in self._apply(commands):
            if isinstance(event, OrderAccepted):
                self._orders[trader, event.side == Side.BID] = event.order_id

    def position(self, trader: int) -> int:
        """Lots that the live engine says a trader holds; below 0: short."""
        account = self._core.accounts[self._first_account + trader]
        return account.positions.get(self.instrument_id, 0) // LOT_MFLOP

    def check(self) -> None:
        """The engine's invariants hold, and the money of all together is zero."""
        self._core.check()
        assert not self._core.imbalance_nanos(), "the ledger does not add up"

    def _resting(self, trader: int, side: Side, ticks: int) -> c.PlaceConditionalOrder:
        return c.PlaceConditionalOrder(
            account_id=self._first_account + trader,
            client_order_id=self._id(),
            instrument_id=self.instrument_id,
            side=side,
            order_type=c.OrderType.LIMIT,
            time_in_force=TimeInForce.GTC,
            self_trade=SelfTradePrevention.CANCEL_NEWEST,
            price_nanos=max(ticks, 1) * TICK_NANOS,
            quantity_mflop=LOT_MFLOP,
            expire_time_ns=0,
            max_cost_nanos=0,
            post_only=c.PostOnlyMode.REPRICE,
        )

    def best(self) -> tuple[float | None, float | None]:
        """The best bid and the best ask, dollars."""
        bids, asks = self._core.depth(self.instrument_id, 1)
        return tuple(  # type: ignore[return-value]
            levels[0][0] / NANOS_PER_DOLLAR if levels else None for levels in (bids, asks)
        )

    def clear(self) -> None:
        """The day is over: all orders are withdrawn."""
        for trader, buys in list(self._orders):
            self._apply(self._withdrawal(trader, buys))
        self.check()

    def _withdrawal(self, trader: int, buys: bool) -> list[c.Command]:
        order_id = self._orders.pop((trader, buys), 0)
        account_id = self._first_account + trader
        return [c.CancelOrder(account_id, order_id, bytes(16))] if order_id else []

    def _apply(self, commands: list[c.Command]) -> list[object]:
        self._now_ns += CALL_NS
        applied = self._core.apply([c.Advance(self._now_ns), *commands])
        events: list[object] = [event for of_one in applied for event in of_one]
        assert not any(isinstance(event, Refused) for event in events), events
        return events

    def _id(self) -> bytes:
        """A UUIDv7 of the time now and a counter."""
        self._called += 1
        word = self._now_ns // NS_PER_MS << 80 | 7 << 76 | 2 << 62 | self._called
        return word.to_bytes(16, "big")


def _instrument(price_max_nanos: int) -> c.AddInstrument:
    return c.AddInstrument(
        settlement=c.Settlement.PAPER,
        mode=c.ClearingMode.CONTINUOUS,
        model_id=0,
        tick_nanos=TICK_NANOS,
        lot_mflop=LOT_MFLOP,
        price_min_nanos=TICK_NANOS,
        price_max_nanos=price_max_nanos,
        quantity_max_mflop=LOT_MFLOP,
        prefill_millitokens_per_s=0,
        decode_millitokens_per_s=0,
        context_tokens_max=0,
        latest_start_ns=0,
        name="unit/floor/paper",
    )

"""The words of the naive book: what it refuses, and small questions about one or two orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matching.events import BookEvent, Cancelled, Decremented, Fill
from matching.order import AT_LEAST, Order
from matching.types import (
    MINIMUM_ORDERS_MAX,
    PEAKS_MAX,
    PRICE_MAX,
    QUANTITY_MAX,
    STOP_ORDERS_MAX,
    BookState,
    CancelReason,
    RejectReason,
    SelfTradePrevention,
    Side,
    Terms,
    TimeInForce,
)

if TYPE_CHECKING:
    from matching.reference_book import NaiveBook

_PRICES = range(1, PRICE_MAX + 1)
_QUANTITIES = range(1, QUANTITY_MAX + 1)
_SIDES = {int(side) for side in Side}
_TIMES = {int(time_in_force) for time_in_force in TimeInForce}
_MODES = {int(mode) for mode in SelfTradePrevention}
_ONCE = {TimeInForce.IOC, TimeInForce.FOK}
_ONCE_ONLY = {Terms.MINIMUM, Terms.ALL_OR_NONE, Terms.STOP}
"""Beside a budget, for orders that do not rest."""
_EXCLUDED = [
    {Terms.POST_ONLY, Terms.MINIMUM},
    {Terms.POST_ONLY, Terms.ALL_OR_NONE},
    {Terms.POST_ONLY, Terms.STOP},
    {Terms.ICEBERG, Terms.HIDDEN},
    {Terms.ICEBERG, Terms.MINIMUM},
    {Terms.ICEBERG, Terms.ALL_OR_NONE},
    {Terms.STOP, Terms.MINIMUM},
    {Terms.STOP, Terms.ALL_OR_NONE},
    {Terms.MINIMUM, Terms.ALL_OR_NONE},
]


def refusal(book: NaiveBook, order: Order) -> RejectReason | None:
    """See `matching.entry.refusal`: the first check that fails, in the same order."""
    terms = set(Terms(order.terms & 255)) if order.terms else set()
    c = order.conditions
    known = order.side in _SIDES and order.time_in_force in _TIMES and order.self_trade in _MODES
    once = order.time_in_force in _ONCE
    conflict = (
        not 0 <= order.terms < 256
        or any(pair <= terms for pair in _EXCLUDED)
        or (Terms.POST_ONLY in terms and once)
        or (Terms.REPRICE in terms and Terms.POST_ONLY not in terms)
        or (Terms.BUDGET in terms and c is not None and c.budget <= 0)
        or (Terms.BUDGET in terms and not once and (terms & _ONCE_ONLY or order.side == Side.ASK))
    )
    minimum, display, stop_price = (c.minimum, c.display, c.stop_price) if c else (0, 0, 0)
    waits = book.state_now == BookState.AUCTION and Terms.STOP not in terms
    at_once = order.time_in_force == TimeInForce.FOK or (once and Terms.BUDGET in terms)
    too_soon = once and bool(order.terms & AT_LEAST)
    checks = [
        (order.price not in _PRICES, RejectReason.PRICE_OUTSIDE_LIMITS),
        (
            not 0 < order.leaves <= order.quantity or order.quantity not in _QUANTITIES,
            RejectReason.QUANTITY_OUTSIDE_LIMITS,
        ),
        (book.order(order.order_id) is not None, RejectReason.DUPLICATE_ORDER),
        (not known, RejectReason.TERMS_CONFLICT),
        (book.state_now == BookState.HALTED, RejectReason.HALTED),
        (conflict, RejectReason.TERMS_CONFLICT),
        (
            Terms.MINIMUM in terms and minimum not in _QUANTITIES,
            RejectReason.QUANTITY_OUTSIDE_LIMITS,
        ),
        (
            Terms.ICEBERG in terms and display not in _QUANTITIES,
            RejectReason.QUANTITY_OUTSIDE_LIMITS,
        ),
        (
            Terms.ICEBERG in terms and display * PEAKS_MAX < order.quantity,
            RejectReason.DISPLAY_TOO_SMALL,
        ),
        (Terms.STOP in terms and stop_price not in _PRICES, RejectReason.PRICE_OUTSIDE_LIMITS),
        (
            Terms.STOP in terms and len(book.stops()) >= STOP_ORDERS_MAX,
            RejectReason.TOO_MANY_STOPS,
        ),
        (
            bool(order.terms & AT_LEAST) and len(book.minimums()) >= MINIMUM_ORDERS_MAX,
            RejectReason.TOO_MANY_MINIMUMS,
        ),
        (waits and (at_once or too_soon), RejectReason.NOT_IN_AUCTION),
    ]
    return next((reason for fails, reason in checks if fails), None)


def replace_refusal(
    book: NaiveBook, order: Order | None, price: int, quantity: int, stop_price: int
) -> RejectReason | None:
    """See `matching.entry.replace_refusal`."""
    if order is None:
        return RejectReason.UNKNOWN_ORDER
    display = order.conditions.display if order.conditions else 0
    waits = order in book.stops()
    checks = [
        (book.state_now == BookState.HALTED, RejectReason.HALTED),
        (price not in _PRICES, RejectReason.PRICE_OUTSIDE_LIMITS),
        (stop_price not in {0} and stop_price not in _PRICES, RejectReason.PRICE_OUTSIDE_LIMITS),
        (quantity not in _QUANTITIES, RejectReason.QUANTITY_OUTSIDE_LIMITS),
        (bool(stop_price) and not waits, RejectReason.TERMS_CONFLICT),
        (
            bool(order.terms & Terms.ICEBERG) and display * PEAKS_MAX < quantity,
            RejectReason.DISPLAY_TOO_SMALL,
        ),
    ]
    return next((reason for fails, reason in checks if fails), None)


def is_crossed(orders: list[Order]) -> bool:
    """Whether any two orders cross: without it no minimum needs a look."""
    bids = [order.price for order in orders if order.side == Side.BID]
    asks = [order.price for order in orders if order.side == Side.ASK]
    return bool(bids and asks) and max(bids) >= min(asks)


def improved(maker: Order, taker: Order, own_best: int, facing: int | None, tick: int) -> int:
    """The price of a trade with a resting minimum: nobody trades through a displayed order."""
    if taker.side == Side.BID and maker.price >= own_best:
        return maker.price
    if taker.side == Side.ASK and maker.price <= own_best:
        return maker.price
    if facing is None:
        return own_best
    middle = (own_best + facing) // 2 // tick * tick
    return min(middle, taker.price) if taker.side == Side.BID else max(middle, taker.price)


def reaches(taker: Order, price: int) -> bool:
    """Whether a price is within an order's limit."""
    return taker.price >= price if taker.side == Side.BID else taker.price <= price


def reaches_own(taker: Order, own_best: int) -> bool:
    """Whether an order at `own_best` on the taker's side has priority over it."""
    return own_best >= taker.price if taker.side == Side.BID else own_best <= taker.price


def peak(order: Order) -> int:
    """What an order can trade before its place in the queue changes."""
    return order.shown or order.leaves


def end_budget(order: Order, lot: int) -> list[BookEvent]:
    """An order comes to rest: what its budget does not pay at its limit is taken off, or all."""
    assert order.conditions is not None
    whole = order.leaves
    order.leaves = min(whole, order.conditions.budget // (order.price * lot) * lot)
    if not order.leaves:
        return [Cancelled(order.order_id, order.account_id, whole, CancelReason.BUDGET_SPENT)]
    excess = whole - order.leaves
    order.quantity -= excess
    order.conditions.budget = 0
    order.conditions.terms &= ~int(Terms.BUDGET)
    if not order.conditions.terms:
        order.conditions = None
    if not excess:
        return []
    return [Decremented(order.order_id, order.account_id, excess, order.leaves)]


def stop_price_of(order: Order) -> int:
    """The price that a stop order waits for."""
    assert order.conditions is not None
    return order.conditions.stop_price


def fill(maker: Order, taker: Order, price: int, quantity: int) -> Fill:
    """The event of a trade that has just changed both orders."""
    return Fill(
        maker.order_id,
        maker.account_id,
        taker.order_id,
        taker.account_id,
        price,
        quantity,
        maker.leaves,
        taker.leaves,
    )

"""How an order enters a book: checked, matched, then rested or cancelled."""

from __future__ import annotations

from typing import Final

from matching.levels import BookSide, Level
from matching.order import (
    ALL_OR_NONE,
    AT_LEAST,
    BUDGET,
    HIDDEN,
    ICEBERG,
    MINIMUM,
    POST_ONLY,
    REPRICE,
    STOP,
    Conditions,
    Order,
)
from matching.plan import Plan, best_key
from matching.sheet import BID, Sheet
from matching.types import (
    MINIMUM_ORDERS_MAX,
    PEAKS_MAX,
    PRICE_MAX,
    QUANTITY_MAX,
    BookState,
    CancelReason,
    RejectReason,
)

_GTC: Final = 1
_IOC: Final = 3
_FOK: Final = 4
_ALL_TERMS: Final = 255
_IOC_REST: Final = CancelReason.IOC_REST


def refusal(sheet: Sheet, order: Order) -> RejectReason | None:
    """Why an order cannot be taken, or None. Nothing has changed yet."""
    if not 0 < order.price <= PRICE_MAX:
        return RejectReason.PRICE_OUTSIDE_LIMITS
    if not 0 < order.leaves <= order.quantity <= QUANTITY_MAX:
        return RejectReason.QUANTITY_OUTSIDE_LIMITS
    if sheet.find(order.order_id) is not None:
        return RejectReason.DUPLICATE_ORDER
    if not (
        1 <= order.side <= 2 and _GTC <= order.time_in_force <= _FOK and 1 <= order.self_trade <= 4
    ):
        return RejectReason.TERMS_CONFLICT
    if sheet.state == BookState.HALTED:
        return RejectReason.HALTED
    conditions = order.conditions
    if conditions is not None:
        reason = _conditions_refusal(sheet, order, conditions)
        if reason is not None:
            return reason
    if not sheet.open and not order.terms & STOP and not _may_wait(order):
        return RejectReason.NOT_IN_AUCTION
    return None


def _may_wait(order: Order) -> bool:
    """Whether an auction may do for the order what it asks."""
    at_once = order.time_in_force >= _IOC
    if order.time_in_force == _FOK or (at_once and order.terms & BUDGET):
        return False
    # A minimum trades only after the uncross, which an IOC does not outlast.
    return not order.terms & AT_LEAST or not at_once


def _conditions_refusal(sheet: Sheet, order: Order, conditions: Conditions) -> RejectReason | None:
    terms = conditions.terms
    rests = order.time_in_force < _IOC
    if (
        not 0 <= terms <= _ALL_TERMS
        or (terms & POST_ONLY and (not rests or terms & (AT_LEAST | STOP)))
        or (terms & REPRICE and not terms & POST_ONLY)
        or (terms & ICEBERG and terms & (HIDDEN | AT_LEAST))
        or (terms & AT_LEAST and terms & STOP)
        or (terms & ALL_OR_NONE and terms & MINIMUM)
        or (terms & BUDGET and conditions.budget <= 0)
        or (terms & BUDGET and rests and (terms & (AT_LEAST | STOP) or order.side != BID))
    ):
        return RejectReason.TERMS_CONFLICT
    if terms & MINIMUM and not 0 < conditions.minimum <= QUANTITY_MAX:
        return RejectReason.QUANTITY_OUTSIDE_LIMITS
    if terms & ICEBERG:
        if not 0 < conditions.display <= QUANTITY_MAX:
            return RejectReason.QUANTITY_OUTSIDE_LIMITS
        if conditions.display * PEAKS_MAX < order.quantity:
            return RejectReason.DISPLAY_TOO_SMALL
    if terms & STOP:
        if not 0 < conditions.stop_price <= PRICE_MAX:
            return RejectReason.PRICE_OUTSIDE_LIMITS
        if sheet.stops.full():
            return RejectReason.TOO_MANY_STOPS
    if terms & AT_LEAST and len(sheet.minimums) >= MINIMUM_ORDERS_MAX:
        return RejectReason.TOO_MANY_MINIMUMS
    return None


def enter(sheet: Sheet, order: Order) -> None:
    """Match an order that has been checked, then rest or cancel what is left."""
    conditions = order.conditions
    if conditions is not None and conditions.terms & STOP:
        arm(sheet, order, conditions)
    elif not sheet.open:
        _rest(sheet, order)
    elif conditions is not None and conditions.terms & POST_ONLY:
        _enter_post_only(sheet, order, conditions)
    elif conditions is not None:
        _enter_planned(sheet, order)
    else:
        enter_plain(sheet, order)


def enter_plain(sheet: Sheet, order: Order) -> None:
    """`enter` for an order without conditions, planned only where it may meet a hidden one."""
    if order.side == BID:
        own, makers, hidden = sheet.bids, sheet.asks, sheet.hidden_asks
    else:
        own, makers, hidden = sheet.asks, sheet.bids, sheet.hidden_bids
    time_in_force = order.time_in_force
    limit = makers.sign * order.price
    hidden_best = hidden.best
    if time_in_force == _FOK or (hidden_best is not None and hidden_best.key >= limit):
        _enter_planned(sheet, order)
        return
    best = makers.best
    if best is not None and best.key >= limit and not _take(sheet, order, makers, limit):
        return
    if time_in_force < _IOC:
        own.append(order, order.leaves)
        sheet.orders.add(order)
        sheet.tape.rested_plain(order)
    else:
        sheet.tape.cancelled(order, _IOC_REST, False)


def _take(sheet: Sheet, taker: Order, makers: BookSide, limit: int) -> bool:
    """Trade a plain order down to its limit key; True if some of it is left to rest or cancel."""
    tape = sheet.tape
    account_id = taker.account_id
    leaves = taker.leaves
    watched = sheet.stops.waiting > 0
    level: Level | None = makers.best
    while level is not None and level.key >= limit:
        maker = level.oldest
        assert maker is not None
        if maker.account_id == account_id:
            taker.leaves = leaves
            if not sheet.prevent_self_trade(maker, taker):
                return False
            leaves = taker.leaves
            level = makers.best
            continue
        price = level.price
        sheet.last_price = price
        if watched:
            sheet.stops.seen(price)
        conditions = maker.conditions
        size = maker.leaves if conditions is None else maker.leaves - conditions.reserve
        if size > leaves:
            # The maker absorbs the taker and keeps its place.
            maker.leaves -= leaves
            level.quantity -= leaves
            taker.leaves = 0
            tape.filled(maker, taker, price, leaves, size - leaves, 0)
            return False
        leaves -= size
        maker.leaves -= size
        level.quantity -= size
        tape.filled(maker, taker, price, size, 0, leaves)
        if maker.leaves:
            sheet.refresh(maker)
        else:
            sheet.orders.remove(maker)
            level.pop_oldest()
        if leaves == 0:
            taker.leaves = 0
            return False
        level = makers.best
    taker.leaves = leaves
    return True


def _enter_planned(sheet: Sheet, order: Order) -> None:
    plan = Plan(sheet, order).walk()
    rests = order.time_in_force < _IOC
    if order.time_in_force == _FOK and plan.sure < order.leaves:
        sheet.tape.cancelled(order, CancelReason.FOK_UNFILLABLE, False)
        return
    if order.terms & AT_LEAST and plan.sure < order.least():
        if rests:
            sheet.rest(order)
        else:
            sheet.tape.cancelled(order, CancelReason.MINIMUM_UNFILLABLE, False)
        return
    if not carry_out(sheet, order, plan):
        return
    if plan.spent:
        sheet.tape.cancelled(order, CancelReason.BUDGET_SPENT, False)
    elif rests:
        _rest(sheet, order)
    else:
        sheet.tape.cancelled(order, _IOC_REST, False)


def _rest(sheet: Sheet, order: Order) -> None:
    """Rest what is left of an order; of a bid with a budget, what that still pays at its limit.

    A resting bid never trades above its limit, so from then on the budget cannot be exceeded and is
    forgotten.
    """
    conditions = order.conditions
    if conditions is not None and conditions.terms & BUDGET:
        pays = conditions.budget // order.price // sheet.lot * sheet.lot
        if not pays:
            sheet.tape.cancelled(order, CancelReason.BUDGET_SPENT, False)
            return
        if pays < order.leaves:
            excess = order.leaves - pays
            order.quantity -= excess
            order.leaves = pays
            sheet.tape.decremented(order, excess, 0, CancelReason.BUDGET_SPENT)
        conditions.terms &= ~BUDGET
        conditions.budget = 0
        if conditions.terms == 0:
            order.conditions = None
    sheet.rest(order)


def carry_out(sheet: Sheet, taker: Order, plan: Plan) -> bool:
    """Do what a plan says; True if some of the taker is left to rest or cancel."""
    for maker, quantity, price in plan.steps:
        if quantity:
            sheet.trade(maker, taker, quantity, price)
        elif not sheet.prevent_self_trade(maker, taker):
            return False
    conditions = taker.conditions
    if conditions is not None and conditions.terms & BUDGET:
        conditions.budget = plan.budget
    return taker.leaves > 0


def _enter_post_only(sheet: Sheet, order: Order, conditions: Conditions) -> None:
    """Own orders are dealt with; the first order of another account decides."""
    plan = Plan(sheet, order).walk(to_first_trade=True)
    for maker, quantity, _ in plan.steps:
        if quantity == 0:
            if not sheet.prevent_self_trade(maker, order):
                return
            continue
        sign = 1 if order.side == BID else -1
        price = maker.price - sign * sheet.tick
        if not conditions.terms & REPRICE or not 0 < price <= PRICE_MAX:
            sheet.tape.cancelled(order, CancelReason.POST_ONLY_WOULD_TAKE, False)
            return
        order.price = price
        break
    _rest(sheet, order)


def arm(sheet: Sheet, order: Order, conditions: Conditions) -> None:
    """Let a stop order wait, or queue it up if the last trade was at its price already."""
    stop_price = conditions.stop_price
    if sheet.open and _reached(sheet, order, stop_price):
        sheet.stops.queue.append(order)
    else:
        sheet.stops.add(order)
        sheet.tape.armed(order, stop_price)


def settle(sheet: Sheet) -> None:
    """What a change of the book leads to: resting minimums that may trade, then stop orders."""
    stops = sheet.stops
    while sheet.open:
        if sheet.minimums:
            _recheck(sheet)
        stops.examine(sheet.last_price)
        if not stops.queue:
            return
        order = stops.queue.popleft()
        conditions = order.conditions
        assert conditions is not None
        sheet.tape.triggered(order, conditions.stop_price)
        conditions.terms &= ~STOP
        if conditions.terms == 0:
            order.conditions = None
        enter(sheet, order)


def _recheck(sheet: Sheet) -> None:
    """Trade resting minimums that have become able to, the oldest first, until none is."""
    again = True
    while again:
        again = False
        bid = best_key(sheet.bids, sheet.hidden_bids)
        ask = best_key(sheet.asks, sheet.hidden_asks)
        if bid is None or ask is None or bid + ask < 0:
            return  # not crossed: a bid's key is its price, an ask's the negated one
        for order in sheet.minimums.values():
            if order.price < -ask if order.side == BID else order.price > bid:
                continue
            plan = Plan(sheet, order, block=True).walk()
            if plan.traded >= order.least():
                _trade_block(sheet, order, plan)
                again = True
                break


def _trade_block(sheet: Sheet, order: Order, plan: Plan) -> None:
    """A resting minimum trades with several orders, at the price of the worst of them."""
    price = plan.worst_price()
    level = order.level
    assert level is not None
    level.quantity -= plan.traded
    for maker, quantity, _ in plan.steps:
        sheet.trade(maker, order, quantity, price)
    if order.leaves == 0:
        sheet.emptied(order)


def replace_refusal(
    sheet: Sheet, order: Order | None, price: int, quantity: int, stop_price: int
) -> RejectReason | None:
    """Why a replace cannot be done, or None."""
    if order is None:
        return RejectReason.UNKNOWN_ORDER
    if sheet.state == BookState.HALTED:
        return RejectReason.HALTED
    if not 0 < price <= PRICE_MAX or not 0 <= stop_price <= PRICE_MAX:
        return RejectReason.PRICE_OUTSIDE_LIMITS
    if not 0 < quantity <= QUANTITY_MAX:
        return RejectReason.QUANTITY_OUTSIDE_LIMITS
    if stop_price and order.level is not None:
        return RejectReason.TERMS_CONFLICT
    conditions = order.conditions
    if (
        conditions is not None
        and conditions.terms & ICEBERG
        and conditions.display * PEAKS_MAX < quantity
    ):
        return RejectReason.DISPLAY_TOO_SMALL
    return None


def replace_stop(sheet: Sheet, order: Order, price: int, quantity: int, stop_price: int) -> None:
    """Change a stop order that waits, in its place; its price may have come by that."""
    conditions = order.conditions
    assert conditions is not None
    order.price = price
    order.quantity = order.leaves = quantity
    if stop_price:
        sheet.stops.move(order, stop_price)
    if sheet.open and _reached(sheet, order, conditions.stop_price):
        sheet.stops.trigger(order)
    else:
        sheet.tape.armed(order, conditions.stop_price)


def _reached(sheet: Sheet, order: Order, stop_price: int) -> bool:
    last = sheet.last_price
    if not last:
        return False
    return last >= stop_price if order.side == BID else last <= stop_price

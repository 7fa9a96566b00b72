"""What few orders ask for: conditions, legs, and a life as long as their stream's."""

from __future__ import annotations

from typing import Final

import msgspec

from exchange.core.commands import PlaceConditionalOrder, PlaceMultiLegOrder, PlaceOrder
from exchange.core.open_orders import OpenOrder
from exchange.core.reasons import Reason
from exchange.v1 import market_pb2 as pb_market
from exchange.v1 import order_service_pb2 as pb
from matching.order import Order
from matching.types import Terms

_POST_ONLY: Final = {
    0: pb_market.POST_ONLY_MODE_UNSPECIFIED,
    Terms.POST_ONLY: pb_market.POST_ONLY_MODE_REJECT,
    Terms.POST_ONLY | Terms.REPRICE: pb_market.POST_ONLY_MODE_REPRICE,
}
_ENUM_MAX: Final = 255  # what the record's field holds; the core judges what lies below


def placement(plain: PlaceOrder, order: pb.NewOrder, stream_id: int) -> PlaceOrder | Reason:
    """The command for an order that may be more than a plain one, or why there is none.

    Args:
        plain: The command for what is plain of it.
        order: The order.
        stream_id: The stream whose end cancels it; 0 for none.
    """
    fields = msgspec.structs.asdict(plain)
    if order.legs:
        if order.HasField("conditions"):
            return Reason.CONDITIONS_CONFLICT
        legs = [(leg.instrument_id, leg.price_nanos, leg.quantity_mflop) for leg in order.legs]
        return PlaceMultiLegOrder(
            **fields, stream_id=stream_id, legs=tuple(n for leg in legs for n in leg)
        )
    asked = order.conditions
    if not 0 <= asked.post_only <= _ENUM_MAX:
        return Reason.FIELD_INVALID
    return PlaceConditionalOrder(
        **fields,
        post_only=asked.post_only,
        all_or_none=int(asked.all_or_none),
        hidden=int(asked.hidden),
        min_quantity_mflop=asked.min_quantity_mflop,
        display_quantity_mflop=asked.display_quantity_mflop,
        stop_price_nanos=asked.stop_price_nanos,
        stream_id=stream_id,
    )


def conditions(resting: Order) -> pb.OrderConditions | None:
    """What an open order asks for; None where nothing."""
    asked = resting.conditions
    if asked is None:
        return None
    return pb.OrderConditions(
        post_only=_POST_ONLY[asked.terms & (Terms.POST_ONLY | Terms.REPRICE)],
        all_or_none=bool(asked.terms & Terms.ALL_OR_NONE),
        min_quantity_mflop=asked.minimum,
        display_quantity_mflop=asked.display,
        stop_price_nanos=asked.stop_price,
        hidden=bool(asked.terms & Terms.HIDDEN),
    )


def legs(found: OpenOrder) -> list[pb.OrderLeg]:
    """The legs of an open multi-leg bid."""
    return [
        pb.OrderLeg(
            instrument_id=leg.instrument_id,
            price_nanos=leg.price,
            quantity_mflop=leg.quantity,
        )
        for leg in found.legs
    ]

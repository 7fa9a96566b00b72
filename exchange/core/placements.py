"""A command that places an order, read once."""

from __future__ import annotations

from typing import Final, cast

import msgspec

from exchange.core.accounts import content_digest, placement_digest
from exchange.core.commands import PlaceConditionalOrder, PlaceMultiLegOrder, PlaceOrder

_Fields = tuple[int, bytes, int, int, int, int, int, int, int, int, int]
_FIELDS: Final = len(PlaceOrder.__struct_fields__)


class Placement:
    """The fields of a `PlaceOrder` of any kind as slots; `command` has what only some kinds have.

    An order's entry looks at each of them several times, and a slot costs compiled code a tenth of
    what a record's attribute does.
    """

    __slots__ = (
        "account_id",
        "client_order_id",
        "command",
        "expire_time_ns",
        "instrument_id",
        "is_plain",
        "max_cost_nanos",
        "order_type",
        "price_nanos",
        "quantity_mflop",
        "self_trade",
        "side",
        "stream_id",
        "time_in_force",
    )

    def __init__(self, command: PlaceOrder) -> None:
        self.command = command
        self.is_plain = type(command) is PlaceOrder
        self.stream_id = 0
        fields = msgspec.structs.astuple(command)
        if not self.is_plain:
            assert isinstance(command, PlaceConditionalOrder | PlaceMultiLegOrder)
            self.stream_id = command.stream_id
            fields = fields[:_FIELDS]
        (
            account_id, client_order_id, instrument_id, side, order_type, time_in_force,
            self_trade, price_nanos, quantity_mflop, expire_time_ns, max_cost_nanos,
        ) = cast("_Fields", fields)  # fmt: skip
        self.account_id = account_id
        self.client_order_id = client_order_id
        self.instrument_id = instrument_id
        self.side = side
        self.order_type = order_type
        self.time_in_force = time_in_force
        self.self_trade = self_trade
        self.price_nanos = price_nanos
        self.quantity_mflop = quantity_mflop
        self.expire_time_ns = expire_time_ns
        self.max_cost_nanos = max_cost_nanos

    def content(self) -> bytes:
        """What a repeat must have, too: all but the stream, as it may come over another one."""
        command = self.command
        has_terms = not self.is_plain
        if type(command) is PlaceConditionalOrder:
            has_terms = any(msgspec.structs.astuple(command)[_FIELDS:-1])
        if has_terms:
            return content_digest(msgspec.structs.replace(command, stream_id=0))
        words = (self.side << 8 | self.order_type) << 8 | self.time_in_force
        return placement_digest(
            (self.instrument_id << 24 | words) << 8 | self.self_trade,
            self.price_nanos,
            self.quantity_mflop,
            self.expire_time_ns,
            self.max_cost_nanos,
        )

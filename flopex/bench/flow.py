"""A seeded flow of order instructions, built before the clock starts.

Seven in ten are limit orders near a slowly moving middle, two in ten cancel an earlier order of the
same client by its client id, one in ten is an immediate-or-cancel order that reaches across. Both
sides appear equally often, so positions stay small. Old orders are met by the middle as it moves,
so the book does not grow without end, and some cancels come too late and are refused.
"""

from __future__ import annotations

import random
import time
from typing import Final, NamedTuple

from exchange.packed import CANCEL, INSTRUCTION, PLACE
from exchange.v1 import market_pb2 as market
from exchange.v1 import order_service_pb2 as pb

MIDDLE_NANOS: Final = 500_000
TICK_NANOS: Final = 100
REACH_TICKS: Final = 50
CANCEL_SHARE: Final = 0.2
CROSS_SHARE: Final = 0.1
LOT_MFLOP: Final = 100
NS_PER_MS: Final = 1_000_000
_AWAYS: Final = 1_024
"""Entries of the table from which distances from the middle are drawn."""


def id_head(now_ns: int, stream: int) -> int:
    """The first eight bytes of a client id, a UUIDv7, as a number; a counter follows."""
    return now_ns // NS_PER_MS << 16 | 0x70 << 8 | stream


class _Placed(NamedTuple):
    client_id: bytes
    side: int
    time_in_force: int
    price: int
    quantity: int


class Flow:
    """Makes instructions; one per client process, `stream` keeps their ids apart."""

    def __init__(self, seed: int, stream: int, instrument_id: int) -> None:
        self._random = random.Random(seed * 1_000 + stream)
        self._stream = stream
        self._instrument_id = instrument_id
        self._made = 0
        self._head = b""
        self._cancellable: list[bytes] = []
        self._middle = MIDDLE_NANOS
        draw = self._random.expovariate
        self._aways = [1 + min(REACH_TICKS, int(draw(0.1))) for _ in range(_AWAYS)]

    def _client_id(self) -> bytes:
        """A UUIDv7: now in milliseconds, renewed every so often, then a counter."""
        if self._made % 1_000 == 0:
            self._head = id_head(time.time_ns(), self._stream).to_bytes(8) + b"\x80"
        self._made += 1
        return self._head + self._made.to_bytes(7)

    @property
    def drift_nanos(self) -> int:
        """How far the middle has moved so far."""
        return self._middle - MIDDLE_NANOS

    def _place(self) -> _Placed:
        """A new limit order, resting or reaching across."""
        bits = self._random.getrandbits(64)
        self._middle += (-TICK_NANOS, 0, 0, TICK_NANOS)[bits & 3]
        bid = bits >> 2 & 1
        crosses = (bits >> 3 & 0xFFFF) < 0x10000 * CROSS_SHARE / (1 - CANCEL_SHARE)
        away = -3 if crosses else self._aways[(bits >> 20) % _AWAYS]
        client_id = self._client_id()
        if not crosses:
            self._cancellable.append(client_id)
        return _Placed(
            client_id,
            market.SIDE_BID if bid else market.SIDE_ASK,
            market.TIME_IN_FORCE_IOC if crosses else market.TIME_IN_FORCE_GTC,
            self._middle - away * TICK_NANOS * (1 if bid else -1),
            LOT_MFLOP * (1 + (bits >> 40) % 100),
        )

    def _cancel(self) -> bytes | None:
        """The client id of an order to cancel, where it is time for one."""
        if not self._cancellable or self._random.random() >= CANCEL_SHARE:
            return None
        at = int(self._random.random() * len(self._cancellable))
        self._cancellable[at], client_id = self._cancellable[-1], self._cancellable[at]
        self._cancellable.pop()
        return client_id

    def place(self) -> pb.NewOrder:
        """A new limit order, resting or reaching across."""
        made = self._place()
        return pb.NewOrder(
            client_order_id=made.client_id,
            instrument_id=self._instrument_id,
            side=made.side,  # type: ignore[arg-type]
            order_type=market.ORDER_TYPE_LIMIT,
            time_in_force=made.time_in_force,  # type: ignore[arg-type]
            self_trade_prevention=market.SELF_TRADE_PREVENTION_CANCEL_OLDEST,
            price_nanos=made.price,
            quantity_mflop=made.quantity,
        )

    def instruction(self) -> pb.Instruction:
        """The next instruction: a new order or a cancel of an earlier one."""
        cancelled = self._cancel()
        if cancelled is not None:
            return pb.Instruction(cancel=pb.OrderReference(client_order_id=cancelled))
        return pb.Instruction(place=self.place())

    def row(self) -> bytes:
        """The next instruction as a packed row (`exchange.packed`)."""
        cancelled = self._cancel()
        if cancelled is not None:
            return INSTRUCTION.pack(CANCEL, 0, 0, 0, 0, 0, 0, cancelled, 0, 0, 0, 0)
        made = self._place()
        return INSTRUCTION.pack(
            PLACE, made.side, market.ORDER_TYPE_LIMIT, made.time_in_force,
            market.SELF_TRADE_PREVENTION_CANCEL_OLDEST, self._instrument_id, 0, made.client_id,
            made.price, made.quantity, 0, 0,
        )  # fmt: skip

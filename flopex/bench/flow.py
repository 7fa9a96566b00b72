"""A seeded flow of order instructions, built before the clock starts.

Seven in ten are limit orders near a slowly moving middle, two in ten cancel an earlier order of the
same client by its client id, one in ten is an immediate-or-cancel order that reaches across. Both
sides appear equally often, so positions stay small.
"""

from __future__ import annotations

import random
import time
from typing import Final

from exchange.v1 import market_pb2 as market
from exchange.v1 import order_service_pb2 as pb

MIDDLE_NANOS: Final = 500_000
TICK_NANOS: Final = 100
REACH_TICKS: Final = 50
CANCEL_SHARE: Final = 0.2
CROSS_SHARE: Final = 0.1
LOT_MFLOP: Final = 100


class Flow:
    """Makes instructions; one per client process, `stream` keeps their ids apart."""

    def __init__(self, seed: int, stream: int, instrument_id: int) -> None:
        self._random = random.Random(seed * 1_000 + stream)
        self._stream = stream
        self._instrument_id = instrument_id
        self._made = 0
        self._cancellable: list[bytes] = []
        self._middle = MIDDLE_NANOS

    def _client_id(self) -> bytes:
        """A UUIDv7: now in milliseconds, then a counter."""
        self._made += 1
        head = (time.time_ns() // 1_000_000).to_bytes(6) + b"\x70" + bytes([self._stream])
        return head + b"\x80" + self._made.to_bytes(7)

    def place(self) -> pb.NewOrder:
        """A new limit order, resting or reaching across."""
        rng = self._random
        self._middle += rng.choice((-TICK_NANOS, 0, 0, TICK_NANOS))
        bid = rng.random() < 0.5
        crosses = rng.random() < CROSS_SHARE / (1 - CANCEL_SHARE)
        away = -3 if crosses else 1 + min(REACH_TICKS, int(rng.expovariate(0.1)))
        price = self._middle - away * TICK_NANOS * (1 if bid else -1)
        tif = market.TIME_IN_FORCE_IOC if crosses else market.TIME_IN_FORCE_GTC
        client_id = self._client_id()
        if not crosses:
            self._cancellable.append(client_id)
        return pb.NewOrder(
            client_order_id=client_id,
            instrument_id=self._instrument_id,
            side=market.SIDE_BID if bid else market.SIDE_ASK,
            order_type=market.ORDER_TYPE_LIMIT,
            time_in_force=tif,
            self_trade_prevention=market.SELF_TRADE_PREVENTION_CANCEL_OLDEST,
            price_nanos=price,
            quantity_mflop=LOT_MFLOP * rng.randint(1, 100),
        )

    def instruction(self) -> pb.Instruction:
        """The next instruction: a new order or a cancel of an earlier one."""
        if self._cancellable and self._random.random() < CANCEL_SHARE:
            at = self._random.randrange(len(self._cancellable))
            self._cancellable[at], client_id = self._cancellable[-1], self._cancellable[at]
            self._cancellable.pop()
            return pb.Instruction(cancel=pb.OrderReference(client_order_id=client_id))
        return pb.Instruction(place=self.place())

"""The messages of a trial: made before the clock starts, or taken from a ring as they are due.

A minute of batches has millions of orders, too many to be made before and to be kept. So some
seconds of them are made, and each is sent again and again: what makes an order its own, its client
id, is written anew in place, numpy for a batch at once. An order of one lap is cancelled, if at
all, in the same lap, and the middle ends a lap where it began, so that laps fit one another.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from exchange.packed import INSTRUCTION, PLACE
from exchange.v1 import order_service_pb2 as pb
from flopex.bench.flow import TICK_NANOS, Flow, id_head

LINGER_NS: Final = 2_000_000
"""How long a batch waits for more orders, unless set otherwise."""
RING_ORDERS_MAX: Final = 200_000
"""Orders that are made before the clock starts, where orders travel in batches."""

_ROW: Final = np.dtype(
    {
        "names": ["action", "id_head", "id_tail", "price"],
        "formats": ["u1", ">u8", ">u8", "<i8"],
        "offsets": [0, 24, 32, 40],
        "itemsize": INSTRUCTION.size,
    }
)
"""What changes in a packed instruction, and what says whether it does."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What to send: `rate` orders per second for `seconds`, in batches of at most `batch`.

    A batch is sent when it is full, or `linger_ns` after its first order.
    """

    target: str
    key: str
    mode: str
    rate: float
    seconds: float
    batch: int
    seed: int
    stream: int
    instrument_id: int
    linger_ns: int = LINGER_NS

    @property
    def orders(self) -> int:
        """How many in all."""
        return max(1, int(self.rate * self.seconds))

    @property
    def gap_ns(self) -> float:
        """From one order's intended time to the next one's."""
        return 1e9 / self.rate


class Message(NamedTuple):
    """One message: its orders are number `first` to `first + orders - 1`, due at `due_ns`.

    `places` of them are new orders, the others cancel one, and may come too late for that.
    """

    due_ns: int
    first: int
    orders: int
    places: int = 1


class Messages(Protocol):
    """A trial's messages in turn: when each is due, and its bytes."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Message: ...

    def data(self, number: int) -> bytes:
        """A message's bytes; each is asked for once, in turn."""


class Singles:
    """Messages of one order each, all of them made before."""

    def __init__(self, trial: Trial, flow: Flow) -> None:
        self._gap_ns = trial.gap_ns
        if trial.mode == "unary":
            requests: list[Any] = [
                pb.PlaceOrderRequest(order=flow.place()) for _ in range(trial.orders)
            ]
        else:
            requests = [
                pb.TradeRequest(request_id=number, packed=flow.row(), bundle_responses=True)
                for number in range(1, trial.orders + 1)
            ]
        self._data: list[bytes] = [request.SerializeToString() for request in requests]
        self._places = [
            int(trial.mode == "unary" or request.packed[0] == PLACE) for request in requests
        ]

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, number: int) -> Message:
        return Message(int(number * self._gap_ns), number, 1, self._places[number])

    def data(self, number: int) -> bytes:
        """A message's bytes."""
        return self._data[number]


class Ring:
    """Batches, whose orders are made as they are due: those of a lap before, with other ids.

    Attributes:
        lap: Orders of a lap; a whole number of batches.
    """

    def __init__(self, trial: Trial, flow: Flow) -> None:
        inside = int(trial.linger_ns / trial.gap_ns) + 1
        self._count = count = min(trial.batch, inside, trial.orders)
        self._full = count == trial.batch
        self._gap_ns = trial.gap_ns
        self._linger_ns = trial.linger_ns
        self._orders = trial.orders
        batches = min(-(-trial.orders // count), max(1, RING_ORDERS_MAX // count))
        self.lap = batches * count
        self._bytes = memoryview(bytearray(b"".join([flow.row() for _ in range(self.lap)])))
        rows = np.frombuffer(self._bytes, _ROW)
        self._heads, self._tails, self._prices = rows["id_head"], rows["id_tail"], rows["price"]
        self._placed = rows["action"] == PLACE
        self._places = self._placed.reshape(batches, count).sum(axis=1).tolist()
        self._close(flow.drift_nanos)
        self._lap = -1
        self._stream = trial.stream
        self._head = 0

    def _close(self, drift_nanos: int) -> None:
        """Let the middle end where it began: its drift is taken off bit by bit."""
        ticks = -drift_nanos // TICK_NANOS * np.arange(self.lap) // self.lap
        self._prices += np.where(self._placed, ticks * TICK_NANOS, 0)

    def __len__(self) -> int:
        return (self._orders + self._count - 1) // self._count

    def __getitem__(self, number: int) -> Message:
        first = number * self._count
        count = min(self._count, self._orders - first)
        begin_ns, last_ns = int(first * self._gap_ns), int((first + count - 1) * self._gap_ns)
        # The last one may have fewer, and waits then as one that does not fill.
        full = self._full and count == self._count
        due_ns = last_ns if full else begin_ns + self._linger_ns
        if count == self._count:
            return Message(due_ns, first, count, self._places[number % len(self._places)])
        at = first % self.lap
        return Message(due_ns, first, count, int(self._placed[at : at + count].sum()))

    def data(self, number: int) -> bytes:
        """A message's bytes, whose ids are written now."""
        first = number * self._count
        lap, at = divmod(first, self.lap)
        if lap != self._lap:
            self._lap = lap
            self._head = id_head(time.time_ns(), self._stream)
        end = at + min(self._count, self._orders - first)
        self._heads[at:end] = self._head
        if lap:
            self._tails[at:end] += np.uint64(self.lap)
        packed = bytes(self._bytes[at * INSTRUCTION.size : end * INSTRUCTION.size])
        request = pb.TradeRequest(request_id=number + 1, packed=packed, bundle_responses=True)
        data: bytes = request.SerializeToString()
        return data


def schedule(trial: Trial, flow: Flow) -> Messages:
    """The messages of a trial."""
    return Ring(trial, flow) if trial.batch > 1 else Singles(trial, flow)

"""What the HTTP edge is given to read: an interface, so that it knows no other edge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from exchange.engine import Engine


class Trade(Protocol):
    """One recent trade, as `exchange.rpc.history.TradeRecord` describes it."""

    @property
    def instrument_id(self) -> int:
        """Where it was."""
        ...

    @property
    def trade_id(self) -> int:
        """Of the trade, or of the lease that a batch granted."""
        ...

    @property
    def price_nanos(self) -> int:
        """Nano-dollars per CU."""
        ...

    @property
    def quantity_mflop(self) -> int:
        """MFLOP."""
        ...

    @property
    def event_time_ns(self) -> int:
        """Journal time, nanoseconds since the epoch."""
        ...

    @property
    def taker_side(self) -> int:
        """1 bid, 2 ask, 0 in a batch, which has no taker."""
        ...

    @property
    def sequence(self) -> int:
        """Journal sequence of the command that caused it."""
        ...


class ReadModelState(Protocol):
    """How the read model is, as `exchange.readmodel.model.ReadModel` has it."""

    @property
    def sequence(self) -> int:
        """The last command that it contains."""
        ...

    @property
    def lag(self) -> int:
        """How many commands it is behind."""
        ...

    @property
    def questions(self) -> int:
        """How many questions are under way."""
        ...

    @property
    def errors(self) -> int:
        """How often it could not be looked at."""
        ...


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the HTTP edge reads; it changes nothing.

    Attributes:
        engine: The running engine, and by it the state machine.
        recent_trades: The last trades of an instrument (0: of all), at most so many, oldest first.
        is_connected: Whether this worker's session is open.
        sessions: Open sessions of workers.
        streams: gRPC streams under way.
        counters: gRPC calls by method ("calls M") and their errors ("errors M REASON").
        queues: Everything that can fill up, by name: how full it is, and where it ends.
        read_model: How the read model is; None where there is none.
        draining: Whether the exchange takes no new work any more.
    """

    engine: Engine
    recent_trades: Callable[[int, int], Sequence[Trade]]
    is_connected: Callable[[int], bool]
    sessions: Callable[[], int]
    streams: Callable[[], int]
    counters: Callable[[], Mapping[str, int]]
    queues: Callable[[], Mapping[str, tuple[int, int]]]
    read_model: Callable[[], ReadModelState | None]
    draining: Callable[[], bool]

"""All that the exchange knows, in one place; the desks beside it hold behaviour, no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exchange.core.client_ids import ClientIds
from exchange.core.event_tape import EventTape
from exchange.core.ledger import Ledger
from exchange.core.limits import CLIENT_ID_RETENTION_NS, ORDER_ID_RETENTION_NS
from exchange.core.order_table import OrderTable
from exchange.core.rules import LIVE_RULES, Rules
from exchange.core.timers import Timers
from matching.book_legs import BookLegDesk
from matching.legs import LegDesk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exchange.core.accounts import Account, Key
    from exchange.core.events import AnyEvent
    from exchange.core.instruments import Instrument, Model
    from exchange.core.jobs import Job
    from exchange.core.lease import Lease
    from exchange.core.reasons import Reason
    from exchange.core.workers import Pool, Worker
    from matching.book import Book
    from matching.clearing import ClearingGroup

_SHORT_ARRAY_MAX: Final = 15
"""Elements of an array whose head is one byte."""


COUNTERS: Final = (
    "account",
    "group",
    "instrument",
    "job",
    "lease",
    "model",
    "order",
    "pool",
    "quote",
    "trade",
    "worker",
)
"""All counters, in the order of the digest."""


class Counters:
    """Where ids come from: each counts up from 1 and is part of the state."""

    __slots__ = COUNTERS

    def __init__(self) -> None:
        for name in COUNTERS:
            setattr(self, name, 0)

    account: int
    group: int
    instrument: int
    job: int
    lease: int
    model: int
    order: int
    pool: int
    quote: int
    trade: int
    worker: int

    def state(self) -> tuple[int, ...]:
        """Canonical state, for the digest."""
        return tuple(getattr(self, name) for name in COUNTERS)

    def restore(self, state: Sequence[int]) -> None:
        """Become what `state` said."""
        for name, value in zip(COUNTERS, state, strict=True):
            setattr(self, name, value)


def array_head(count: int) -> bytes:
    """How MessagePack begins an array."""
    if count <= _SHORT_ARRAY_MAX:
        return bytes([0x90 | count])
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


class State:
    """The exchange's memory. `tape` collects what the commands under way do."""

    def __init__(self, rules: Rules = LIVE_RULES) -> None:
        self.rules = rules
        self.now_ns = 0
        self.epoch = 1
        self.sequence = 0
        self.grace_until_ns = 0  # faults before this are the operator's: it was away
        self.counters = Counters()
        self.tape = EventTape()
        self.ledger = Ledger()
        self.timers = Timers()
        self.client_ids = ClientIds(CLIENT_ID_RETENTION_NS)
        self.order_ids = ClientIds(ORDER_ID_RETENTION_NS)
        self.accounts: dict[int, Account] = {}
        self.account_by_name: dict[str, int] = {}
        self.keys: dict[bytes, Key] = {}
        self.models: dict[int, Model] = {}
        self.model_by_name: dict[str, int] = {}
        self.instruments: dict[int, Instrument] = {}
        self.instrument_by_name: dict[str, int] = {}
        self.books: dict[int, Book] = {}
        self.groups: dict[int, ClearingGroup] = {}
        self.job_legs = LegDesk(self.groups)
        self.group_by_key: dict[tuple[int, str], int] = {}  # (model, tier)
        self.group_classes: dict[int, list[int]] = {}
        self.heard: dict[int, list[bytes]] = {}  # rows of books that somebody listens to: no state
        self.orders = OrderTable()
        self.legs = BookLegDesk(self.books, self.hear)
        self.jobs: dict[int, Job] = {}
        self.leases: dict[int, Lease] = {}
        self.workers: dict[int, Worker] = {}
        self.worker_by_name: dict[tuple[int, str], int] = {}
        self.pools: dict[int, Pool] = {}
        self.quotes: dict[int, tuple[int, int, int]] = {}  # id -> worker, instrument, pool
        self.jobs_settled = 0
        self.jobs_unsettled = 0
        self.retry_at_ns = 0  # of the refusal under way: no state

    def __del__(self) -> None:
        """Let go of the orders, whose links the garbage collector does not follow when compiled."""
        for account in self.accounts.values():
            account.orders.clear()
        self.orders.clear()

    def hear(self, instrument_id: int) -> None:
        """Keep the market data of a book's last command, where somebody listens to it."""
        heard = self.heard.get(instrument_id)
        if heard is not None:
            heard.append(self.books[instrument_id].last_rows())

    def refused_until(self, reason: Reason, retry_at_ns: int) -> Reason:
        """A refusal that time alone will lift: the reason, for the command's answer."""
        self.retry_at_ns = retry_at_ns
        return reason

    def emit(self, event: AnyEvent) -> None:
        """Say that something happened."""
        self.tape.tell(event)

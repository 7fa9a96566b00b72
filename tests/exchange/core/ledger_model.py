"""A second ledger, kept from events alone by the plainest arithmetic, to hold the core against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from exchange.core import commands as c
from exchange.core.events import (
    AnyEvent,
    JobEnded,
    JobLegDropped,
    JobQueued,
    LeaseEnded,
    LeaseOffered,
    Posted,
    ReceiptSettled,
    WorkerRegistered,
)
from exchange.core.exchange import Exchange


class LedgerModel:
    """Balances, escrow and slots as the events tell them."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        ledger = exchange.ledger
        self._balances = Counter({i: ledger.balance(i) for i in exchange.accounts})
        self._escrow: dict[int, int] = {}  # by job
        self._buyer: dict[int, int] = {}
        self._paid: Counter[int] = Counter()
        self._in_use: Counter[tuple[int, int]] = Counter()  # by worker and pool
        self._pool_of: dict[int, tuple[int, int]] = {}
        self._job_of: dict[int, int] = {}

    def saw(self, command: c.Command, events: Iterable[AnyEvent]) -> None:
        """Take in what a command did."""
        for event in events:
            if isinstance(event, Posted):
                assert event.amount_nanos >= 0
                self._balances[event.debit_account_id] -= event.amount_nanos
                self._balances[event.credit_account_id] += event.amount_nanos
            elif isinstance(event, JobQueued):
                first = self._escrow.setdefault(event.job_id, event.escrow_nanos)
                assert first == event.escrow_nanos, "the budget of a later attempt is another"
                self._buyer[event.job_id] = event.account_id
            elif isinstance(event, JobLegDropped):
                assert event.escrow_nanos <= self._escrow[event.job_id], "an escrow has grown"
                self._escrow[event.job_id] = event.escrow_nanos
            elif isinstance(event, LeaseOffered):
                self._offered(event)
            elif isinstance(event, LeaseEnded):
                self._in_use[self._pool_of.pop(event.lease_id)] -= 1
                assert (event.billed_nanos == 0) or event.state == 4, "only SETTLED bills"
            elif isinstance(event, ReceiptSettled) and event.lease_id in self._pool_of:
                self._paid[event.job_id] += event.billed_nanos
            elif isinstance(event, JobEnded):
                assert self._paid[event.job_id] == event.paid_nanos
                assert event.paid_nanos <= self._escrow.pop(event.job_id), "overspent"
            elif isinstance(event, WorkerRegistered) and isinstance(command, c.RegisterWorker):
                assert set(event.resumed_lease_ids) <= set(self._pool_of)

    def _offered(self, event: LeaseOffered) -> None:
        assert event.ask_nanos <= event.price_nanos <= event.bid_nanos
        assert event.price_nanos * event.quantity_mflop <= self._escrow[event.job_id] * 10**6
        pool = (event.worker_id, event.pool)
        self._pool_of[event.lease_id] = pool
        self._in_use[pool] += 1
        slots = self._exchange.workers[event.worker_id].slots[event.pool]
        assert self._in_use[pool] <= slots, "a slot was sold twice"

    def compare(self) -> None:
        """The core holds the same balances, holds at least the jobs' escrow, and owes nobody."""
        exchange = self._exchange
        held: Counter[int] = Counter()
        for job_id, escrow in self._escrow.items():
            held[self._buyer[job_id]] += escrow
        for account_id, account in exchange.accounts.items():
            assert exchange.ledger.balance(account_id) == self._balances[account_id]
            if account.kind == c.AccountKind.REAL:
                assert exchange.ledger.pending(account_id) == held[account_id]
            else:
                assert exchange.ledger.pending(account_id) >= self._bids(account_id)
        assert sum(self._balances.values()) == 0

    def _bids(self, account_id: int) -> int:
        """What an account's open bids may still cost, but for roundings posted already."""
        total = 0
        for order in self._exchange.open_orders_of(account_id):
            if order.side == 1:
                worst = order.price_nanos * order.leaves_mflop // 10**6
                cap = order.max_cost_nanos
                total += min(worst, cap - order.posted_nanos) if cap else worst
        return total

"""Accounts and API keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from exchange.core.commands import AccountKind
from exchange.core.id_table import IdTable
from exchange.core.message_limits import MessageLimits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from exchange.core.open_orders import OpenOrder
    from exchange.core.records import Record

_BID: Final = 1

EXTERNAL_ID: Final = 1
"""The world outside, in credit: deposits come from it, withdrawals go to it."""
EXTERNAL_PAPER_ID: Final = 2
"""The source of paper money, so that paper never mixes with credit."""


class Stake:
    """What an account has in one instrument, in MFLOP: its position, and what is open per side.

    Attributes:
        position: Bought minus sold; negative is short.
        bids: What its open bids may still buy.
        asks: What its open asks may still sell.
    """

    __slots__ = ("asks", "bids", "position")

    def __init__(self) -> None:
        self.position = 0
        self.bids = 0
        self.asks = 0

    def expose(self, side: int, change_mflop: int) -> None:
        """More, or less, is open on one side."""
        if side == _BID:
            self.bids += change_mflop
        else:
            self.asks += change_mflop

    def worst(self, side: int) -> int:
        """How far the position could go to this side if all that is open there filled."""
        return self.position + self.bids if side == _BID else self.asks - self.position


class Account:
    """An account and its counters; its money is the ledger's."""

    __slots__ = (
        "account_id",
        "client_ids",
        "halted",
        "job_ids",
        "kind",
        "limits",
        "name",
        "open_jobs",
        "orders",
        "queued_bytes",
        "stakes",
    )

    def __init__(self, account_id: int, kind: AccountKind, name: str) -> None:
        self.account_id = account_id
        self.kind = kind
        self.name = name
        self.halted = False
        self.limits: MessageLimits | None = None  # what it may send, where the operator says so
        self.orders: list[OpenOrder] = []  # open ones, in no order that means anything
        self.open_jobs = 0
        self.queued_bytes = 0
        self.job_ids: dict[int, None] = {}  # remembered jobs, oldest first
        self.stakes: dict[int, Stake] = {}  # by instrument, those ever touched
        self.client_ids = IdTable()  # those that are remembered

    @property
    def open_orders(self) -> int:
        """How many orders work."""
        return len(self.orders)

    def add_order(self, order: OpenOrder) -> None:
        """An order works. Costs O(1)."""
        order.place = len(self.orders)
        self.orders.append(order)

    def remove_order(self, order: OpenOrder) -> None:
        """An order works no more. Costs O(1)."""
        last = self.orders.pop()
        if last is not order:  # it takes the place that is free now
            place = last.place = order.place
            self.orders[place] = last

    def stake(self, instrument_id: int) -> Stake:
        """What it has in an instrument."""
        found = self.stakes.get(instrument_id)
        if found is None:
            found = self.stakes[instrument_id] = Stake()
        return found

    @property
    def positions(self) -> dict[int, int]:
        """Instrument to MFLOP, negative is short; those that are not 0."""
        return {i: stake.position for i, stake in self.stakes.items() if stake.position}

    @property
    def exposure(self) -> dict[tuple[int, int], int]:
        """(instrument, side) to open MFLOP, where any is."""
        both = {
            (instrument_id, side): left
            for instrument_id, stake in self.stakes.items()
            for side, left in ((1, stake.bids), (2, stake.asks))
        }
        return {key: left for key, left in both.items() if left}

    def result_of(self, kinds: Iterable[type[Record]], client_id: bytes) -> int | None:
        """What a remembered client id led to, if it came with such a command; else None."""
        known = self.client_ids.get(client_id)
        if known is None or all(known.kind != kind.KIND for kind in kinds):
            return None
        return known.result_id

    def state(self) -> tuple[object, ...]:
        """Canonical state; its orders and jobs have their own."""
        return (
            self.account_id,
            int(self.kind),
            self.name,
            self.halted,
            self.open_jobs,
            self.queued_bytes,
            sorted(self.positions.items()),
            sorted(self.exposure.items()),
            self.limits.state() if self.limits else (),
            *self.client_ids.state(),
        )

    @classmethod
    def restored(cls, state: Sequence[Any]) -> Account:
        """The account whose `state` it was, without its orders and jobs."""
        account_id, kind, name, halted, jobs, queued, positions, exposure, *known = state
        account = cls(account_id, AccountKind(kind), name)
        account.halted = halted
        account.open_jobs = jobs
        account.queued_bytes = queued
        for instrument_id, position in positions:
            account.stake(instrument_id).position = position
        for (instrument_id, side), left in exposure:
            account.stake(instrument_id).expose(side, left)
        limits, joint, contents, results = known
        account.limits = MessageLimits.restored(limits) if limits else None
        account.client_ids = IdTable.restored(joint, contents, results)
        return account


EXTERNAL: Final = frozenset({EXTERNAL_ID, EXTERNAL_PAPER_ID})
"""Nobody's accounts: they hold no key, take no deposit and own no worker."""


class Key(NamedTuple):
    """What an API key may do; the key itself is known by its SHA-256 only."""

    account_id: int
    roles: int
    label: str

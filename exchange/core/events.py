"""Events: all that the exchange says happened, in one numbered sequence.

The events of one command are atomic and come together. An event carries ids and integers only;
units are in the field names. `Refused` answers a command that changed nothing.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from exchange.core.reasons import Reason


class Fault(IntEnum):
    """Whose fault an ending was."""

    NONE = 0
    BUYER = 1
    WORKER = 2
    OPERATOR = 3
    NETWORK = 4


class OrderState(IntEnum):
    """FIX OrdStatus, for explicit orders."""

    NEW = 1
    PARTIALLY_FILLED = 2
    FILLED = 3
    CANCELED = 4
    EXPIRED = 5
    REJECTED = 6


class JobState(IntEnum):
    """A job's life. SETTLED, CANCELLED, EXPIRED and FAILED are terminal."""

    QUEUED = 1
    LEASED = 2
    RUNNING = 3
    SETTLED = 4
    CANCELLED = 5
    EXPIRED = 6
    FAILED = 7


class LeaseState(IntEnum):
    """A lease's life. From SETTLED on all are terminal."""

    OFFERED = 1
    ACCEPTED = 2
    RUNNING = 3
    SETTLED = 4
    EXPIRED = 5
    DECLINED = 6
    REVOKED = 7
    FAILED = 8


class WorkerState(IntEnum):
    """A worker's state as the market sees it."""

    READY = 1
    PAUSED = 2
    DRAINING = 3
    LOST = 4
    LEFT = 5


class EntryKind(IntEnum):
    """Why money moved."""

    DEPOSIT = 1
    WITHDRAWAL = 2
    LEASE = 3
    TRADE = 4


class Event(msgspec.Struct, frozen=True, gc=False, tag_field="type"):
    """Base of all events."""


class Refused(Event, frozen=True, gc=False):
    """The command changed nothing.

    `retry_at_ns` is from when on it would be taken, where only what was sent before is too much.
    """

    reason: Reason
    account_id: int = 0
    retry_at_ns: int = 0


class Repeated(Event, frozen=True, gc=False):
    """The client id was used before with the same content: `result_id` is the first result."""

    account_id: int
    result_id: int


class TimeAdvanced(Event, frozen=True, gc=False):
    """The answer to Advance where nothing was due."""

    now_ns: int


class EpochBegan(Event, frozen=True, gc=False):
    """The exchange recovered; timers were extended by `outage_ns` and the grace."""

    epoch: int
    outage_ns: int


class AccountOpened(Event, frozen=True, gc=False):
    """A new account."""

    account_id: int
    kind: int
    name: str


class AccountHalted(Event, frozen=True, gc=False):
    """The operator halted or resumed an account."""

    account_id: int
    halted: bool


class AccountLimitsSet(Event, frozen=True, gc=False):
    """The operator set how much an account may send."""

    account_id: int


class KeyAdded(Event, frozen=True, gc=False):
    """An API key is valid from now on."""

    account_id: int
    roles: int
    key_hash: bytes
    label: str


class KeyRevoked(Event, frozen=True, gc=False):
    """An API key is valid no more."""

    account_id: int
    key_hash: bytes


class Posted(Event, frozen=True, gc=False):
    """A ledger entry: `amount_nanos` went from one account to another.

    `reference_id` is the lease, trade or request that caused it.
    """

    kind: EntryKind
    debit_account_id: int
    credit_account_id: int
    amount_nanos: int
    reference_id: int


class ModelAdded(Event, frozen=True, gc=False):
    """A model card was entered."""

    model_id: int
    name: str


class InstrumentAdded(Event, frozen=True, gc=False):
    """An instrument was entered."""

    instrument_id: int
    name: str


class InstrumentStateChanged(Event, frozen=True, gc=False):
    """Open, halted, closed, or in a call auction; the reason is NONE where the operator said so."""

    instrument_id: int
    state: int
    reason: Reason = Reason.NONE


class AuctionCalled(Event, frozen=True, gc=False):
    """The call phase of an auction lasts until then; 0: until the operator ends it."""

    instrument_id: int
    end_time_ns: int


class AuctionUncrossed(Event, frozen=True, gc=False):
    """An auction traded so much at one price; zeros where nothing met."""

    instrument_id: int
    price_nanos: int
    quantity_mflop: int


class ProtectionsSet(Event, frozen=True, gc=False):
    """The operator set what keeps a book orderly."""

    instrument_id: int


class OrderAccepted(Event, frozen=True, gc=False):
    """A new order, before any of its fills."""

    order_id: int
    account_id: int
    client_order_id: bytes
    instrument_id: int
    side: int
    price_nanos: int
    quantity_mflop: int


class OrderFilled(Event, frozen=True, gc=False):
    """One trade between two orders, at the maker's price; each side's leaves follow."""

    trade_id: int
    instrument_id: int
    price_nanos: int
    quantity_mflop: int
    maker_order_id: int
    maker_account_id: int
    maker_leaves_mflop: int
    taker_order_id: int
    taker_account_id: int
    taker_leaves_mflop: int
    taker_side: int


class OrderReplaced(Event, frozen=True, gc=False):
    """New price or total quantity."""

    order_id: int
    account_id: int
    instrument_id: int
    price_nanos: int
    quantity_mflop: int
    leaves_mflop: int


class OrderTriggered(Event, frozen=True, gc=False):
    """A stop order was triggered: it works from now on."""

    order_id: int
    account_id: int
    instrument_id: int
    stop_price_nanos: int


class OrderClosed(Event, frozen=True, gc=False):
    """The order left the book unfilled or in part: CANCELED or EXPIRED, with the reason."""

    order_id: int
    account_id: int
    instrument_id: int
    state: OrderState
    reason: Reason
    leaves_mflop: int


class OrdersCancelled(Event, frozen=True, gc=False):
    """Answers a mass cancel, before the end of each order: how many there were, and why they go."""

    account_id: int
    reason: Reason
    orders: int


class JobQueued(Event, frozen=True, gc=False):
    """The job's bid is in the book (again, where attempt > 1)."""

    job_id: int
    account_id: int
    client_job_id: bytes
    model_id: int
    attempt: int
    quantity_mflop: int
    escrow_nanos: int
    density_nanos: int
    deadline_ns: int


class JobLegDropped(Event, frozen=True, gc=False):
    """A leg of a job left for good; the others go on. `leg` counts from 0.

    `escrow_nanos` is what is held from now on: the worst case of the dearest of the others.
    """

    job_id: int
    account_id: int
    leg: int
    instrument_id: int
    reason: Reason
    escrow_nanos: int


class JobEnded(Event, frozen=True, gc=False):
    """The job is over; `paid_nanos` is all it ever cost."""

    job_id: int
    account_id: int
    state: JobState
    reason: Reason
    fault: Fault
    cause: int
    attempt: int
    lease_id: int
    flops: int
    paid_nanos: int


class JobCancelling(Event, frozen=True, gc=False):
    """The buyer cancelled a leased job: the worker is told to stop and to settle."""

    job_id: int
    account_id: int
    lease_id: int
    worker_id: int


class Cleared(Event, frozen=True, gc=False):
    """One class of a clearing group cleared at one price."""

    instrument_id: int
    price_nanos: int
    fills: int


class LeaseOffered(Event, frozen=True, gc=False):
    """A fill: accept within `accept_within_ns`, stop within `stop_within_ns`, counted from now."""

    lease_id: int
    job_id: int
    attempt: int
    instrument_id: int
    worker_id: int
    pool: int
    buyer_account_id: int
    seller_account_id: int
    quantity_mflop: int
    price_nanos: int
    bid_nanos: int
    ask_nanos: int
    fence_epoch: int
    fence_sequence: int
    accept_within_ns: int
    stop_within_ns: int


class LeaseAccepted(Event, frozen=True, gc=False):
    """The worker took the lease."""

    lease_id: int
    job_id: int
    worker_id: int


class LeaseStarted(Event, frozen=True, gc=False):
    """The engine began."""

    lease_id: int
    job_id: int
    worker_id: int


class LeaseEnded(Event, frozen=True, gc=False):
    """The lease is over; the slot is free again. Only SETTLED ever billed anything."""

    lease_id: int
    job_id: int
    worker_id: int
    account_id: int
    state: LeaseState
    fault: Fault
    reason: Reason
    flops: int
    billed_nanos: int


class ReceiptRefused(Event, frozen=True, gc=False):
    """A receipt was recorded and rejected; it pays nothing."""

    lease_id: int
    worker_id: int
    reason: Reason
    receipt_digest: bytes


class ReceiptSettled(Event, frozen=True, gc=False):
    """A receipt was accepted: FLOPs as re-computed, billed at the lease's price."""

    lease_id: int
    job_id: int
    worker_id: int
    account_id: int
    cause: int
    flops: int
    price_nanos: int
    billed_nanos: int
    receipt_digest: bytes


class WorkerRegistered(Event, frozen=True, gc=False):
    """A session opened; the leases that still stand are listed."""

    worker_id: int
    account_id: int
    name: str
    resumed_lease_ids: tuple[int, ...]


class WorkerStateChanged(Event, frozen=True, gc=False):
    """Ready, paused, draining, lost or left."""

    worker_id: int
    account_id: int
    state: WorkerState


class QuoteSet(Event, frozen=True, gc=False):
    """A standing quote stands."""

    worker_id: int
    instrument_id: int
    pool: int
    prices_nanos: tuple[int, ...]


class QuoteEnded(Event, frozen=True, gc=False):
    """A standing quote went: withdrawn, expired, or its worker did."""

    worker_id: int
    instrument_id: int
    pool: int


AnyEvent = (
    Refused
    | Repeated
    | TimeAdvanced
    | EpochBegan
    | AccountOpened
    | AccountHalted
    | AccountLimitsSet
    | KeyAdded
    | KeyRevoked
    | Posted
    | ModelAdded
    | InstrumentAdded
    | InstrumentStateChanged
    | AuctionCalled
    | AuctionUncrossed
    | ProtectionsSet
    | OrderAccepted
    | OrderFilled
    | OrderReplaced
    | OrderTriggered
    | OrderClosed
    | OrdersCancelled
    | JobQueued
    | JobLegDropped
    | JobEnded
    | JobCancelling
    | Cleared
    | LeaseOffered
    | LeaseAccepted
    | LeaseStarted
    | LeaseEnded
    | ReceiptRefused
    | ReceiptSettled
    | WorkerRegistered
    | WorkerStateChanged
    | QuoteSet
    | QuoteEnded
)

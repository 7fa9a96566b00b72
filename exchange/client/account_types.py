"""Accounts, money and receipts, as users see them."""

from __future__ import annotations

from dataclasses import dataclass, field

from exchange.client.enums import EntryKind, StopCause
from exchange.client.reasons import reason_name
from exchange.v1 import account_service_pb2 as pb
from exchange.v1 import admin_service_pb2 as admin_pb


@dataclass(frozen=True, slots=True)
class Position:
    """A paper position.

    Attributes:
        instrument_id: Instrument.
        quantity_mflop: Quantity, MFLOP; negative for a short one.
    """

    instrument_id: int
    quantity_mflop: int


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """How many messages (new orders, replacements, cancels, jobs) an account may send.

    Zeros are no limit.

    Attributes:
        messages_per_s: Messages per second, sustained.
        message_burst: Messages at once, after a pause.
        order_to_trade_window_ns: Length of a window of the order-to-trade limit, nanoseconds.
        order_to_trade_free: Order messages in each window that need no trade.
        order_to_trade_ratio: Order messages that each trade in the window adds.
    """

    messages_per_s: int = 0
    message_burst: int = 0
    order_to_trade_window_ns: int = 0
    order_to_trade_free: int = 0
    order_to_trade_ratio: int = 0


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """Caps of an account.

    Attributes:
        open_orders_max: Open orders.
        open_jobs_max: Open jobs.
        queued_bytes_max: Bytes of queued prompts.
        client_ids_max: Client ids remembered.
        messages: How much it may send.
    """

    open_orders_max: int
    open_jobs_max: int
    queued_bytes_max: int
    client_ids_max: int
    messages: MessageLimits


@dataclass(frozen=True, slots=True)
class Account:
    """An account; money in nano-dollars.

    Attributes:
        account_id: Id given by the exchange.
        name: Name.
        paper: True for a paper account.
        balance_nanos: Posted balance.
        pending_nanos: Held by open bids and leases.
        available_nanos: balance - pending: what can be spent or withdrawn.
        positions: Paper positions.
        open_orders: Open orders now.
        open_jobs: Open jobs now.
        halted: True where the operator halted it.
        limits: Caps that apply.
    """

    account_id: int
    name: str
    paper: bool
    balance_nanos: int
    pending_nanos: int
    available_nanos: int
    positions: tuple[Position, ...]
    open_orders: int
    open_jobs: int
    halted: bool
    limits: AccountLimits


def account_from(message: pb.Account) -> Account:
    """An account of the wire."""
    limits = message.limits
    return Account(
        account_id=message.account_id,
        name=message.name,
        paper=message.paper,
        balance_nanos=message.balance_nanos,
        pending_nanos=message.pending_nanos,
        available_nanos=message.available_nanos,
        positions=tuple(Position(p.instrument_id, p.quantity_mflop) for p in message.positions),
        open_orders=message.open_orders,
        open_jobs=message.open_jobs,
        halted=message.halted,
        limits=AccountLimits(
            limits.open_orders_max,
            limits.open_jobs_max,
            limits.queued_bytes_max,
            limits.client_ids_max,
            MessageLimits(
                limits.messages.messages_per_s,
                limits.messages.message_burst,
                limits.messages.order_to_trade_window_ns,
                limits.messages.order_to_trade_free,
                limits.messages.order_to_trade_ratio,
            ),
        ),
    )


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One double entry: the same amount leaves one account and reaches another.

    Attributes:
        sequence: Journal sequence of the command that caused it.
        kind: Why.
        debit_account_id: Account that paid.
        credit_account_id: Account that was paid.
        amount_nanos: Amount, nano-dollars.
        reference_id: Lease or trade it belongs to; 0 for deposits and withdrawals.
        event_time_ns: Journal time, nanoseconds since the epoch.
    """

    sequence: int
    kind: EntryKind
    debit_account_id: int
    credit_account_id: int
    amount_nanos: int
    reference_id: int
    event_time_ns: int


def entry_from(message: pb.LedgerEntry) -> LedgerEntry:
    """An entry of the wire."""
    return LedgerEntry(
        message.sequence,
        EntryKind(message.kind),
        message.debit_account_id,
        message.credit_account_id,
        message.amount_nanos,
        message.reference_id,
        message.event_time_ns,
    )


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt as the worker signed it, with what the exchange made of it.

    Attributes:
        lease_id: Lease.
        job_id: Job.
        worker: Worker's name.
        public_key: Worker's Ed25519 public key, 32 bytes.
        signed_bytes: The bytes that were signed.
        signature: Ed25519 signature, 64 bytes.
        flops: FLOPs as re-computed by the exchange.
        price_nanos: Price, nano-dollars per CU.
        billed_nanos: Billed, nano-dollars.
        accepted: Whether it was accepted.
        reason: Why not, such as RECEIPT_LATE; empty where accepted.
        stop_cause: Why the engine stopped.
        model_card: The model card's canonical JSON, from which anyone re-computes the FLOPs.
    """

    lease_id: int
    job_id: int
    worker: str
    public_key: bytes
    signed_bytes: bytes
    signature: bytes
    flops: int
    price_nanos: int
    billed_nanos: int
    accepted: bool
    reason: str
    stop_cause: StopCause
    model_card: bytes


def receipt_from(message: pb.StoredReceipt) -> Receipt:
    """A receipt of the wire."""
    return Receipt(
        lease_id=message.lease_id,
        job_id=message.job_id,
        worker=message.worker,
        public_key=message.public_key,
        signed_bytes=message.signed_bytes,
        signature=message.signature,
        flops=message.flops,
        price_nanos=message.price_nanos,
        billed_nanos=message.billed_nanos,
        accepted=message.accepted,
        reason=reason_name(message.reason),
        stop_cause=StopCause(message.cause),
        model_card=message.model_card,
    )


@dataclass(frozen=True, slots=True)
class Key:
    """An API key without its secret.

    Attributes:
        key_id: First characters of its hash, hexadecimal.
        label: Label for people.
        roles: trader, worker, operator, reader.
    """

    key_id: str
    label: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made.

    Attributes:
        secret: flx_ and 43 characters. It is shown once, and not in this object's repr.
        key_id: First characters of its hash, hexadecimal.
    """

    secret: str = field(repr=False)
    key_id: str


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the exchange knows.

    Attributes:
        model_id: Id given by the exchange.
        name: Name.
    """

    model_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Invariants:
    """What must always hold, and how it stands now.

    Attributes:
        ledger_imbalance_nanos: Sum over all accounts, nano-dollars: zero.
        overspend_nanos: Billed above any escrow or lease, nano-dollars: zero.
        journal_records: Commands so far.
        epoch: One more at each start of the exchange.
        digest: State digest, 32 bytes, where asked for; else empty.
        failure: First failed check; empty is good.
        open_orders: Open orders.
        open_jobs: Open jobs.
        open_leases: Open leases.
        jobs_settled: Jobs ended with a receipt.
        jobs_failed: Jobs ended otherwise.
        workers_connected: Worker sessions connected.
    """

    ledger_imbalance_nanos: int
    overspend_nanos: int
    journal_records: int
    epoch: int
    digest: bytes
    failure: str
    open_orders: int
    open_jobs: int
    open_leases: int
    jobs_settled: int
    jobs_failed: int
    workers_connected: int


def invariants_from(message: admin_pb.GetInvariantsResponse) -> Invariants:
    """Invariants of the wire."""
    return Invariants(
        ledger_imbalance_nanos=message.ledger_imbalance_nanos,
        overspend_nanos=message.overspend_nanos,
        journal_records=message.journal_records,
        epoch=message.epoch,
        digest=message.digest,
        failure=message.failure,
        open_orders=message.open_orders,
        open_jobs=message.open_jobs,
        open_leases=message.open_leases,
        jobs_settled=message.jobs_settled,
        jobs_failed=message.jobs_failed,
        workers_connected=message.workers_connected,
    )

"""Commands: all that can change the exchange, as packed records (see `records`).

Ids that a command names were given by the exchange before (they come from its counters); a client
gives only `client_*_id`, a UUIDv7 of 16 bytes, and the exchange answers a repeat with the first
result. Zero means "not given" where the field says so. Units are in the field names.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final, cast, get_args

from exchange.core.records import (
    I64,
    U8,
    U16,
    U32,
    U64,
    Decoder,
    Digest,
    Id16,
    Record,
    VarBytes,
    VarInts,
    VarStr,
)


class Role(IntFlag):
    """What a key may do. An account is paper or real, never both."""

    TRADER = 1  # submit jobs, place orders
    WORKER = 2  # sell slots
    OPERATOR = 4  # instruments, deposits, halts
    READER = 8  # read everything of every account


class AccountKind(IntEnum):
    """Real accounts settle leases in credit; paper accounts trade paper instruments only."""

    REAL = 1
    PAPER = 2


class ClearingMode(IntEnum):
    """How an instrument's orders meet."""

    BATCH = 1
    CONTINUOUS = 2


class Settlement(IntEnum):
    """What a fill gives: a lease on a worker, or a paper position."""

    LEASE = 1
    PAPER = 2


class TradingState(IntEnum):
    """An instrument's state; `CLOSED` is final and cancels what rests.

    In an `AUCTION` a continuous book collects orders, which trade all at once when it ends.
    """

    OPEN = 1
    HALTED = 2
    CLOSED = 3
    AUCTION = 4


class WorkerAction(IntEnum):
    """What the owner or the operator wants of a worker."""

    RESUME = 1
    PAUSE = 2
    DRAIN = 3


class OrderType(IntEnum):
    """A market order is a limit order at the protection price and never rests.

    A stop order waits outside the book until a trade reaches its stop price; then it is a market
    order, or a limit order where it is a `STOP_LIMIT`.
    """

    LIMIT = 1
    MARKET = 2
    STOP = 3
    STOP_LIMIT = 4


class PostOnlyMode(IntEnum):
    """What an order that must not take does where it would trade at entry."""

    NONE = 0  # it may take
    REJECT = 1
    REPRICE = 2  # it rests one tick behind the best price of the other side


class StopCause(IntEnum):
    """Why the engine stopped: the receipt's own word for how the attempt ended."""

    FINISHED = 1  # the model said so
    LENGTH = 2  # the output limit
    BUDGET = 3  # the next step's worst case would not fit
    CANCELLED = 4  # the buyer
    TIME = 5  # stop_by
    FAILED = 6  # the engine broke: nothing is billed


class Advance(Record, frozen=True, gc=False):
    """First of each commit group: the time, never falling. Due timers fire before the rest."""

    KIND = 1
    now_ns: I64


class Recovered(Record, frozen=True, gc=False):
    """First after a restart: the new epoch, and how long the exchange was away."""

    KIND = 2
    epoch: U32
    outage_ns: I64


class OpenAccount(Record, frozen=True, gc=False):
    """The operator opens an account; a repeat with the same name answers NAME_TAKEN."""

    KIND = 10
    kind: U8
    name: VarStr


class AddKey(Record, frozen=True, gc=False):
    """A key for an account: only the SHA-256 of its secret is known here."""

    KIND = 11
    account_id: U32
    roles: U8
    key_hash: Digest
    label: VarStr


class RevokeKey(Record, frozen=True, gc=False):
    """The key works no more from the next command on."""

    KIND = 12
    key_hash: Digest


class Deposit(Record, frozen=True, gc=False):
    """Credit comes in; `request_id` (UUIDv7) makes a repeat harmless."""

    KIND = 13
    account_id: U32
    request_id: Id16
    amount_nanos: I64


class Withdraw(Record, frozen=True, gc=False):
    """Credit goes out, at most what is available."""

    KIND = 14
    account_id: U32
    request_id: Id16
    amount_nanos: I64


class AddModel(Record, frozen=True, gc=False):
    """A model card (canonical JSON, see `exchange.metering.cards`)."""

    KIND = 15
    card: VarBytes


class AddInstrument(Record, frozen=True, gc=False):
    """model / hardware class / service tier, with the class's promises per slot.

    `name` is `model/class/tier`. Token rates are in thousandths of a token per second with all
    slots busy. For a paper instrument model, rates and context are zero and the name is free.
    """

    KIND = 16
    settlement: U8
    mode: U8
    model_id: U32
    tick_nanos: I64
    lot_mflop: I64
    price_min_nanos: I64
    price_max_nanos: I64
    quantity_max_mflop: I64
    prefill_millitokens_per_s: I64
    decode_millitokens_per_s: I64
    context_tokens_max: U32
    latest_start_ns: I64
    name: VarStr


class SetInstrumentState(Record, frozen=True, gc=False):
    """Halt, resume or close an instrument, or open a call auction on it (`TradingState`).

    `call_ns` is for an auction: after it the book opens by itself; 0 waits for the operator.
    """

    KIND = 17
    instrument_id: U32
    state: U8
    call_ns: I64 = 0


class SetAccountHalted(Record, frozen=True, gc=False):
    """A halted account places and submits nothing; cancels and receipts still work."""

    KIND = 18
    account_id: U32
    halted: U8


class SetProtections(Record, frozen=True, gc=False):
    """What keeps a continuous book orderly; zero switches a protection off.

    Distances are basis points of the reference price. The bands, the volatility guard and the
    phases of the re-opening call are those of `matching.protection`, the order-to-trade limit that
    of `exchange.core.throttle`. `book_orders_max` is the most open orders of the book.
    """

    KIND = 19
    instrument_id: U32
    static_band_bps: U32 = 0
    dynamic_band_bps: U32 = 0
    volatility_move_bps: U32 = 0
    volatility_window_ns: I64 = 0
    reopening_call_ns: I64 = 0
    reopening_collar_bps: U32 = 0
    reopening_extension_ns: I64 = 0
    reopening_extensions: U32 = 0
    book_orders_max: U32 = 0
    order_to_trade_window_ns: I64 = 0
    order_to_trade_free: U32 = 0
    order_to_trade_ratio: U32 = 0


class SetAccountLimits(Record, frozen=True, gc=False):
    """How much an account may send; zeros switch a limit off.

    `messages_per_s` and `message_burst` are those of a token bucket, the order-to-trade limit is
    over all its instruments together: both of `exchange.core.throttle`.
    """

    KIND = 20
    account_id: U32
    messages_per_s: U32 = 0
    message_burst: U32 = 0
    order_to_trade_window_ns: I64 = 0
    order_to_trade_free: U32 = 0
    order_to_trade_ratio: U32 = 0


class PlaceOrder(Record, frozen=True, gc=False):
    """An explicit order on a continuous instrument, without conditions: most are.

    `max_cost_nanos` caps the money (0: none); `expire_time_ns` is for GTD only. A market order's
    price is ignored: the band's edge protects it.
    """

    KIND = 30
    account_id: U32
    client_order_id: Id16
    instrument_id: U32
    side: U8
    order_type: U8
    time_in_force: U8
    self_trade: U8
    price_nanos: I64
    quantity_mflop: I64
    expire_time_ns: I64
    max_cost_nanos: I64


class CancelOrder(Record, frozen=True, gc=False):
    """Cancel by `order_id`, or by `client_order_id` where order_id is 0."""

    KIND = 31
    account_id: U32
    order_id: U64
    client_order_id: Id16


class ReplaceOrder(Record, frozen=True, gc=False):
    """New price and new *total* quantity; what is filled already counts towards it.

    `stop_price_nanos` is for a stop order that still waits; 0 leaves it as it is.
    """

    KIND = 32
    account_id: U32
    order_id: U64
    price_nanos: I64
    quantity_mflop: I64
    stop_price_nanos: I64 = 0


class PlaceConditionalOrder(PlaceOrder, frozen=True, gc=False):
    """An explicit order with conditions; zero means that it has no such condition.

    `stop_price_nanos` is for the two stop types only. `stream_id` names the order stream whose end
    cancels the order; it is the gateway's, and a repeat of the order may come over another stream.
    """

    KIND = 33
    post_only: U8 = 0
    all_or_none: U8 = 0
    hidden: U8 = 0
    min_quantity_mflop: I64 = 0
    display_quantity_mflop: I64 = 0
    stop_price_nanos: I64 = 0
    stream_id: U64 = 0


class PlaceMultiLegOrder(PlaceOrder, frozen=True, gc=False):
    """A bid of which at most one leg fills, whole. `legs` is (instrument, price, quantity) each.

    The fields that its legs state (instrument, price and quantity) are zero.
    """

    KIND = 34
    stream_id: U64 = 0
    legs: VarInts = ()


class MassCancel(Record, frozen=True, gc=False):
    """Cancel an account's open orders: of one instrument, of one side, or (zeros) all."""

    KIND = 35
    account_id: U32
    instrument_id: U32
    side: U8


class EndOrderStream(Record, frozen=True, gc=False):
    """The stream is over: the orders that were to live as long as it are cancelled."""

    KIND = 36
    account_id: U32
    stream_id: U64


class SubmitJob(Record, frozen=True, gc=False):
    """A managed bid with its work: what the answer is worth, by when, and at most for how much.

    `instrument_id` 0 lets every class of the tier compete. Exactly one of `value_nanos` and
    `limit_nanos` may be zero; both zero means: the value is `max_cost_nanos`. `max_cost_nanos` 0
    means: no cap beside the value. The deadline is a duration, so that a repeat has the same bytes.
    `input_tokens` is what such a prompt usually has and sizes the run time; `input_tokens_max` is
    what it can have at most and bounds the receipt.

    `legs` is (instrument, limit, quantity, input tokens, input tokens at most) each, in place of
    the fields of those names and of model and tier, which are zero and empty then. At most one leg
    fills. One with limit 0 bids by the value.
    """

    KIND = 40
    account_id: U32
    client_job_id: Id16
    model_id: U32
    instrument_id: U32
    quantity_mflop: I64
    value_nanos: I64
    limit_nanos: I64
    max_cost_nanos: I64
    deadline_within_ns: I64
    payload_digest: Digest
    payload_bytes: U32
    input_tokens: U32
    input_tokens_max: U32
    output_tokens_max: U32
    tier: VarStr
    legs: VarInts = ()


class CancelJob(Record, frozen=True, gc=False):
    """Stop the work and the bill. In the book: refunded whole; running: billed up to the stop."""

    KIND = 41
    account_id: U32
    job_id: U64


class RegisterWorker(Record, frozen=True, gc=False):
    """A worker's session opens, anew or again. The public key is pinned at the first one.

    `slots[i]` is the number of slots of pool i. `resume` 1 keeps the leases that still stand;
    0 says that the worker has lost them.
    """

    KIND = 50
    account_id: U32
    resume: U8
    public_key: Digest
    name: VarStr
    slots: VarInts
    facts: VarBytes


class SetQuote(Record, frozen=True, gc=False):
    """A standing quote: prices[i] is the ask with i slots of the pool in use, never falling."""

    KIND = 51
    worker_id: U32
    instrument_id: U32
    pool: U16
    ttl_ns: I64
    prices_nanos: VarInts


class WithdrawQuote(Record, frozen=True, gc=False):
    """Take a standing quote out."""

    KIND = 52
    worker_id: U32
    instrument_id: U32
    pool: U16


class AcceptLease(Record, frozen=True, gc=False):
    """The worker takes the offered lease; the fencing token must be the lease's."""

    KIND = 53
    worker_id: U32
    lease_id: U64
    fence_epoch: U32
    fence_sequence: U64


class DeclineLease(Record, frozen=True, gc=False):
    """The worker refuses the offered lease; the job goes back at once."""

    KIND = 54
    worker_id: U32
    lease_id: U64
    fence_epoch: U32
    fence_sequence: U64
    reason: U16


class StartLease(Record, frozen=True, gc=False):
    """The engine has begun."""

    KIND = 55
    worker_id: U32
    lease_id: U64
    fence_epoch: U32
    fence_sequence: U64


class SettleLease(Record, frozen=True, gc=False):
    """A receipt, with what the gateway found of it (signature, tokens received, output digest).

    `trace` is the model's decision trace (see `exchange.metering`); FLOPs are re-computed from it.
    `tokens_received` counts the tokens of the chunks that came in, `output_digest_received` is
    their SHA-256. `receipt_digest` identifies the signed bytes.
    """

    KIND = 56
    worker_id: U32
    lease_id: U64
    fence_epoch: U32
    fence_sequence: U64
    cause: U8
    signature_valid: U8
    flops: U64
    tokens_received: U32
    model_digest: Digest
    input_digest: Digest
    output_digest: Digest
    output_digest_received: Digest
    receipt_digest: Digest
    trace: VarBytes


class WorkerLost(Record, frozen=True, gc=False):
    """The gateway gave the worker up: no heartbeat, or the stream broke and did not come back."""

    KIND = 57
    worker_id: U32


class SetWorker(Record, frozen=True, gc=False):
    """Pause, drain or resume a worker (`WorkerAction`), by its owner or the operator."""

    KIND = 58
    account_id: U32
    worker_id: U32
    action: U8


class LeaveWorker(Record, frozen=True, gc=False):
    """The worker says goodbye: quotes go, leases still held count as lost."""

    KIND = 59
    worker_id: U32


Command = (
    Advance
    | Recovered
    | OpenAccount
    | AddKey
    | RevokeKey
    | Deposit
    | Withdraw
    | AddModel
    | AddInstrument
    | SetInstrumentState
    | SetAccountHalted
    | SetProtections
    | SetAccountLimits
    | PlaceOrder
    | CancelOrder
    | ReplaceOrder
    | PlaceConditionalOrder
    | PlaceMultiLegOrder
    | MassCancel
    | EndOrderStream
    | SubmitJob
    | CancelJob
    | RegisterWorker
    | SetQuote
    | WithdrawQuote
    | AcceptLease
    | DeclineLease
    | StartLease
    | SettleLease
    | WorkerLost
    | SetWorker
    | LeaveWorker
)

PLACEMENTS: Final = (PlaceOrder, PlaceConditionalOrder, PlaceMultiLegOrder)
"""All that place an order; the same client id may come again as another of them."""

COMMANDS: Final[dict[int, type[Record]]] = {cls.KIND: cls for cls in get_args(Command)}


_decoder: Final = Decoder(COMMANDS)


def decode_first(data: bytes, at: int) -> tuple[Command, int]:
    """The command whose record begins there, and the record's size; errors as `decode`."""
    record, size = _decoder.decode_first(memoryview(data), at)
    return cast("Command", record), size


def decode(data: bytes | memoryview) -> list[Command]:
    """The commands of one commit group.

    Raises:
        RecordError: unknown kind or damaged bytes.
    """
    return cast("list[Command]", _decoder.decode(data))

"""The enums of the API. Their numbers are those of `exchange.v1`; a test holds them equal."""

from __future__ import annotations

from enum import IntEnum, unique


class OpenEnum(IntEnum):
    """An enum that reads a number it does not know, from a newer exchange, as UNSPECIFIED (0)."""

    @classmethod
    def _missing_(cls, value: object) -> OpenEnum | None:
        return cls(0) if isinstance(value, int) and value > 0 else None


@unique
class JobState(OpenEnum):
    """A job's state."""

    UNSPECIFIED = 0
    """Not given."""
    QUEUED = 1
    """Its bid is in the book."""
    LEASED = 2
    """A worker was offered the lease, or has it."""
    RUNNING = 3
    """The engine runs."""
    SETTLED = 4
    """Ended with an accepted receipt; an answer cut short by its budget counts as settled."""
    CANCELLED = 5
    """Cancelled by the buyer or the operator."""
    EXPIRED = 6
    """Nobody could finish it in time."""
    FAILED = 7
    """Every permitted attempt failed; nothing was billed."""


@unique
class Fault(OpenEnum):
    """Whose fault an ending was."""

    UNSPECIFIED = 0
    """Nobody's."""
    BUYER = 1
    """The buyer's."""
    WORKER = 2
    """The worker's."""
    OPERATOR = 3
    """The exchange operator's."""
    NETWORK = 4
    """The network's."""


@unique
class StopCause(OpenEnum):
    """Why the engine stopped."""

    UNSPECIFIED = 0
    """Not given: it did not run."""
    FINISHED = 1
    """The model ended its answer."""
    LENGTH = 2
    """The output limit was reached."""
    BUDGET = 3
    """The next step's worst case would not fit the compute budget."""
    CANCELLED = 4
    """The buyer cancelled."""
    TIME = 5
    """stop_by was reached."""
    FAILED = 6
    """The engine failed."""


@unique
class Side(OpenEnum):
    """Which side of a book an order is on."""

    UNSPECIFIED = 0
    """Not given: refused."""
    BID = 1
    """Buys compute."""
    ASK = 2
    """Sells compute."""


@unique
class OrderType(OpenEnum):
    """Limit, market, stop or stop-limit."""

    UNSPECIFIED = 0
    """Not given: limit."""
    LIMIT = 1
    """Trades at its price or better."""
    MARKET = 2
    """A limit order at the edge of the price band that never rests."""
    STOP = 3
    """Waits outside the book until a trade reaches its stop price, then is a market order."""
    STOP_LIMIT = 4
    """Waits outside the book until a trade reaches its stop price, then is a limit order."""


@unique
class PostOnlyMode(OpenEnum):
    """What an order that must not take does where it would trade at entry."""

    UNSPECIFIED = 0
    """Not given: it may take."""
    REJECT = 1
    """It is refused."""
    REPRICE = 2
    """It rests one tick behind the best price of the other side."""


@unique
class TimeInForce(OpenEnum):
    """How long an order works."""

    UNSPECIFIED = 0
    """Not given: good till cancelled."""
    GTC = 1
    """Until cancelled."""
    GTD = 2
    """Until its expire_time."""
    IOC = 3
    """Trades what it can at once; the rest is cancelled."""
    FOK = 4
    """Trades whole at once or not at all."""


@unique
class SelfTradePrevention(OpenEnum):
    """What happens when an order would meet one of its own account; the taker's mode decides."""

    UNSPECIFIED = 0
    """Not given: cancel the newest."""
    CANCEL_NEWEST = 1
    """The incoming order's rest is cancelled."""
    CANCEL_OLDEST = 2
    """The resting order is cancelled."""
    CANCEL_BOTH = 3
    """Both are cancelled."""
    DECREMENT = 4
    """Both shrink by the smaller quantity without a trade."""


@unique
class ClearingMode(OpenEnum):
    """How an instrument's orders meet."""

    UNSPECIFIED = 0
    """Not given: refused."""
    BATCH = 1
    """Batch: every 10 ms, one price per hardware class."""
    CONTINUOUS = 2
    """Continuous: price-time, at the maker's price."""


@unique
class BookEventKind(OpenEnum):
    """What happened to the book that everybody may see."""

    UNSPECIFIED = 0
    """Not given."""
    ADDED = 1
    """An order shows its quantity from now on, last at its price."""
    EXECUTED = 2
    """A shown order traded; at shown 0 it is gone from the display."""
    TRADED = 3
    """A hidden order traded: nothing shown changes."""
    REDUCED = 4
    """A shown order shows less and keeps its place; at shown 0 it is gone from the display."""
    DELETED = 5
    """A shown order is gone, or gave up its place and is added again."""
    STATE = 6
    """The book is in another state."""


@unique
class Settlement(OpenEnum):
    """What a fill gives."""

    UNSPECIFIED = 0
    """Not given: refused."""
    LEASE = 1
    """A lease on a worker."""
    PAPER = 2
    """A position, paid in paper money between paper accounts; no compute is delivered."""


@unique
class TradingState(OpenEnum):
    """An instrument's state."""

    UNSPECIFIED = 0
    """Not given: refused."""
    OPEN = 1
    """Trades."""
    HALTED = 2
    """Takes cancels only."""
    CLOSED = 3
    """Ended; what rested was cancelled."""
    AUCTION = 4
    """A call auction: takes orders, and trades all at once and at one price when it ends."""


@unique
class OrderState(OpenEnum):
    """FIX OrdStatus."""

    UNSPECIFIED = 0
    """Not given."""
    NEW = 1
    """Working, nothing filled."""
    PARTIALLY_FILLED = 2
    """Working, filled in part."""
    FILLED = 3
    """Filled whole."""
    CANCELED = 4
    """Cancelled; what was filled stays filled."""
    EXPIRED = 5
    """Its time passed."""
    REJECTED = 6
    """Refused; it never worked."""


@unique
class ExecutionType(OpenEnum):
    """Why a report was sent: FIX ExecType."""

    UNSPECIFIED = 0
    """Not given."""
    NEW = 1
    """The order was accepted."""
    TRADE = 2
    """The order traded."""
    CANCELED = 3
    """The order was cancelled."""
    REPLACED = 4
    """The order was replaced."""
    REJECTED = 5
    """The order or the instruction was refused."""
    EXPIRED = 6
    """The order expired."""
    REPEATED = 7
    """The same client_order_id came again with the same content; order_id is the first one's."""
    TRIGGERED = 8
    """A stop order was triggered: it works from now on."""
    MASS_CANCELED = 9
    """Answers a mass cancel: affected_orders were cancelled, each with a report of its own."""


@unique
class EntryKind(OpenEnum):
    """Why money moved."""

    UNSPECIFIED = 0
    """Not given."""
    DEPOSIT = 1
    """The operator put credit in."""
    WITHDRAWAL = 2
    """The operator paid credit out."""
    LEASE = 3
    """Metered compute of a lease."""
    TRADE = 4
    """A trade of paper positions."""


@unique
class WorkerState(OpenEnum):
    """A worker's state as the market sees it."""

    UNSPECIFIED = 0
    """Not given."""
    READY = 1
    """Takes leases."""
    PAUSED = 2
    """Takes none until resumed."""
    DRAINING = 3
    """Finishes what it holds and leaves."""
    LOST = 4
    """Its session was lost."""
    LEFT = 5
    """It said goodbye."""


@unique
class WorkerAction(OpenEnum):
    """What an owner or the operator wants of a worker."""

    UNSPECIFIED = 0
    """Not given: refused."""
    RESUME = 1
    """Take leases again."""
    PAUSE = 2
    """Take no new leases."""
    DRAIN = 3
    """Finish what is held, then leave."""


@unique
class WebhookState(OpenEnum):
    """How a webhook does."""

    UNSPECIFIED = 0
    """Not given."""
    OK = 1
    """Nothing waits to be tried again."""
    FAILING = 2
    """The last attempt failed, and is repeated."""
    GONE = 3
    """Its endpoint answered 410: it is told nothing until its owner asks for a test."""


@unique
class AlertCondition(OpenEnum):
    """Which prices set an alert off."""

    UNSPECIFIED = 0
    """Not given: refused."""
    ABOVE = 1
    """The alert's price or above."""
    BELOW = 2
    """The alert's price or below."""


@unique
class AlertState(OpenEnum):
    """Whether an alert has gone off."""

    UNSPECIFIED = 0
    """Not given."""
    ARMED = 1
    """It waits for its price."""
    TRIGGERED = 2
    """It has gone off, and does so no more."""

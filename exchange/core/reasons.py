"""Why a command was refused or why something ended: one exhaustive table.

The numbers are those of `exchange.v1.Reason` (a test holds them equal) and come in families:
1xx permission, 2xx unknown, 3xx shape, 4xx idempotency, 5xx money and caps, 6xx market,
7xx leases and workers, 8xx receipts.
"""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class Reason(IntEnum):
    """Refusals and endings are values, not exceptions, so that none is lost in an except-block."""

    NONE = 0
    ROLE_MISSING = 101  # The key's account lacks the role that this call needs.
    NOT_OWNER = 102  # The order, job or lease belongs to another account.
    ACCOUNT_HALTED = 103  # The operator has halted the account.
    KEY_MISMATCH = 104  # A worker of this name is registered with another public key.
    UNKNOWN_ACCOUNT = 201  # No account has this id or name.
    UNKNOWN_INSTRUMENT = 202  # No instrument has this id or name.
    UNKNOWN_MODEL = 203  # No model card has this name.
    UNKNOWN_ORDER = 204  # No open order has this id.
    UNKNOWN_JOB = 205  # No job has this id.
    UNKNOWN_WORKER = 206  # No worker has this id.
    UNKNOWN_LEASE = 207  # No lease has this id.
    UNKNOWN_POOL = 208  # The worker has no slot pool with this number.
    UNKNOWN_QUOTE = 209  # No standing quote stands for this instrument and pool.
    UNKNOWN_KEY = 210  # No API key has this hash.
    PRICE_OFF_TICK = 301  # The price is not a multiple of the instrument's tick.
    PRICE_OUT_OF_BAND = 302  # The price lies outside the instrument's price band.
    QUANTITY_NOT_POSITIVE = 303  # The quantity is zero or negative.
    QUANTITY_OFF_LOT = 304  # The quantity is not a multiple of the instrument's lot.
    QUANTITY_TOO_LARGE = 305  # The quantity is over the named maximum.
    AMOUNT_NOT_POSITIVE = 306  # The amount of money is zero or negative.
    AMOUNT_TOO_LARGE = 307  # The amount of money is over the named maximum.
    # The value is so small for this quantity that the bid would round to zero.
    VALUE_TOO_SMALL = 308
    DEADLINE_PASSED = 309  # The deadline is not in the future.
    DEADLINE_TOO_FAR = 310  # The deadline is further away than the named maximum.
    PAYLOAD_TOO_LARGE = 311  # The prompt is larger than the named maximum.
    FIELD_INVALID = 312  # A field has a value outside its range or grammar.
    NAME_TAKEN = 313  # Another thing of this kind already has this name.
    PRICES_INVALID = 314  # Quote prices must be positive, never falling, and one per slot at most.
    ORDER_TYPE_UNSUPPORTED = 315  # The instrument does not take orders of this kind.
    VALUE_MISSING = 316  # A job needs a value, a limit price or a maximum cost.
    BUDGET_BELOW_MINIMUM = 317  # The compute budget cannot pay for the prompt and one token.
    CONTEXT_TOO_LONG = 318  # Prompt and output together exceed the longest context of every class.
    CONDITIONS_CONFLICT = 319  # The order's conditions contradict each other or its type.
    LEGS_INVALID = 320  # A multi-leg bid has 1 to 16 legs of different instruments.
    # The quantity has more than 100 parts of the quantity shown at a time.
    DISPLAY_TOO_SMALL = 321
    DUPLICATE_CLIENT_ID = 401  # The client id was used before with other content.
    CLIENT_ID_TOO_OLD = 402  # The client id is unknown and older than the retention window.
    CLIENT_ID_IN_FUTURE = 403  # The client id's time lies in the future.
    CLIENT_ID_INVALID = 404  # The client id is not a UUIDv7.
    INSUFFICIENT_FUNDS = 501  # The available balance does not cover the escrow or the withdrawal.
    TOO_MANY_OPEN_ORDERS = 502  # The account has its maximum of open orders.
    TOO_MANY_OPEN_JOBS = 503  # The account has its maximum of open jobs.
    TOO_MANY_QUEUED_BYTES = 504  # The account has its maximum of queued prompt bytes.
    TOO_MANY_CLIENT_IDS = 505  # The account has its maximum of remembered client ids.
    BALANCE_TOO_LARGE = 506  # The balance would exceed the named maximum.
    POSITION_TOO_LARGE = 507  # The position would exceed the named maximum.
    EXCHANGE_FULL = 508  # The exchange holds its named maximum of such things.
    BOOK_FULL = 509  # The book holds its maximum of orders, or of orders of this kind.
    # The account has sent too many orders for the trades that it made: try again later.
    ORDER_TO_TRADE = 510
    MESSAGE_RATE = 511  # The account sends faster than the operator lets it: try again later.
    INSTRUMENT_HALTED = 601  # The instrument does not trade now.
    NO_CAPABLE_CLASS = 602  # No hardware class of this model and tier can serve such a job.
    # No eligible hardware class can still finish the job by its deadline.
    DEADLINE_INFEASIBLE = 603
    NO_LIQUIDITY = 604  # There is nothing on the other side at this price.
    SELF_TRADE = 605  # The order would have traded with its own account.
    IMMEDIATE_OR_CANCEL = 606  # The rest of an immediate-or-cancel order was cancelled.
    FILL_OR_KILL = 607  # The whole quantity could not be filled at once.
    ORDER_EXPIRED = 608  # The order's time has passed.
    CANCELLED_BY_OWNER = 609  # The owner cancelled.
    CANCELLED_BY_OPERATOR = 610  # The operator cancelled.
    REPLACED_BELOW_FILLED = 611  # The new total quantity is not above what is already filled.
    JOB_CLOSED = 612  # The job has already ended.
    MONEY_CAP = 613  # The money cap was reached.
    PRICE_BELOW_ASK = 614  # A slot is free, and dearer than the bid is now.
    NO_FREE_SLOT = 615  # Workers quote; all their slots are busy.
    NO_QUOTES = 616  # No worker quotes a class that could serve the job.
    POST_ONLY = 617  # The post-only order would have traded.
    MIN_QUANTITY = 618  # The minimum quantity could not be filled.
    BEYOND_BAND = 619  # The trade would have been too far from the reference price.
    NOT_IN_AUCTION = 620  # The order is not of a kind that a call auction takes.
    DISCONNECTED = 621  # The stream that the order was placed on ended.
    VOLATILITY = 622  # The price moved too far in too short a time.
    # The fencing token is not the lease's: the lease was granted anew or is over.
    STALE_FENCE = 701
    LEASE_CLOSED = 702  # The lease has already ended.
    LEASE_STATE = 703  # The lease is not in the state that this step needs.
    ACCEPT_TIMEOUT = 704  # The worker did not accept the lease in time.
    START_TIMEOUT = 705  # The worker did not start the lease in time.
    RECEIPT_TIMEOUT = 706  # No receipt came before settle_by.
    WORKER_LOST = 707  # The worker's session was lost.
    WORKER_PAUSED = 708  # The worker takes no new leases.
    WORKER_DECLINED = 709  # The worker declined the lease.
    ENGINE_FAILED = 710  # The worker's engine failed.
    ATTEMPTS_EXHAUSTED = 711  # The job failed on its last permitted attempt.
    SLOTS_IN_USE = 712  # The change would take away slots that are in use.
    WORKER_DRAINED = 713  # The worker drained and left.
    WORKER_BUSY = 714  # The worker declined: it has no free slot after all.
    MODEL_NOT_LOADED = 715  # The worker declined: the model is not loaded.
    OPERATOR_FAULT = 716  # The exchange could not serve the lease; the worker is not to blame.
    RECEIPT_BAD_SIGNATURE = 801  # The receipt's signature does not verify.
    RECEIPT_WRONG_MODEL = 802  # The receipt names another model than the lease.
    RECEIPT_WRONG_INPUT = 803  # The receipt names another input than the job's payload.
    RECEIPT_FLOPS_MISMATCH = 804  # The receipt's FLOPs are not those of its decisions.
    RECEIPT_OVER_BUDGET = 805  # The receipt's FLOPs exceed the lease.
    # The receipt counts more tokens than the prompt or the chunks allow.
    RECEIPT_TOKENS_IMPLAUSIBLE = 806
    RECEIPT_MALFORMED = 807  # The receipt's decision trace cannot be read, or contradicts itself.
    RECEIPT_LATE = 808  # The receipt came after settle_by or after the lease ended.
    RECEIPT_WRONG_OUTPUT = 809  # The receipt's output digest is not that of the chunks received.

"""What can go wrong, as one tree.

    FlopexError                     everything below
    ├── CallFailed                  a call ended with an error: .code .reason .message .metadata
    │   ├── Refused                 the exchange said no; asking again changes nothing
    │   │   ├── Unauthenticated     no API key, or an unknown one
    │   │   ├── PermissionDenied    the key's account may not do this (reasons 1xx)
    │   │   ├── NotFound            no such job, order, instrument, ... (2xx)
    │   │   ├── InvalidRequest      a field is outside its range or grammar (3xx)
    │   │   ├── ClientIdRefused     a client id was used for something else, or is too old (4xx)
    │   │   ├── LimitReached        a cap of the account or of the exchange (5xx)
    │   │   │   └── InsufficientFunds   not enough money available
    │   │   ├── NotNow              the market's or a lease's state forbids it (6xx, 7xx, 8xx)
    │   │   └── NotImplementedYet   the method is specified, and not built
    │   ├── Unavailable             the exchange cannot be reached, or is shutting down
    │   ├── Overloaded              the exchange has too much to do: try a little later
    │   ├── DeadlineExceeded        no answer in time; the request may have been carried out
    │   ├── SlowReader              a stream was read too slowly and was cut off
    │   └── ServerFailed            a defect of the exchange, or of what lies on the way to it
    ├── JobNotSettled               a job ended without a whole answer: .job .text
    │   ├── JobCancelled            its buyer or the operator cancelled it
    │   ├── JobExpired              nobody could finish it in time
    │   └── JobFailed               every permitted attempt failed; nothing was billed
    ├── Gap                         a stream lost messages that cannot be had again
    ├── BookDamaged                 a local book does not have the exchange's checksum
    ├── Backpressure                more instructions wait for their answer than are permitted
    └── ClientClosed                the client, or this stream of it, is closed

Unavailable and Overloaded reach the caller only after the client has tried again by itself. A
refused *order* is no exception: its `OrderResult` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import grpc

from exchange.client.job_types import Job
from exchange.client.reasons import PREFIX
from exchange.client.status import DETAILS_KEY, Details, decode_details
from exchange.v1.reason_pb2 import Reason

DOMAIN: Final = "exchange.v1"

Code = grpc.StatusCode


class FlopexError(Exception):
    """Everything that this package raises on purpose, but for ValueError and TypeError."""


class CallFailed(FlopexError):
    """A call ended with an error.

    Attributes:
        code: The gRPC status.
        reason: Upper snake case, such as INSUFFICIENT_FUNDS; empty where the exchange gave none.
        message: For people.
        metadata: The dynamic parts of the message, for programs.
        retry_after_s: Seconds after which the exchange asks to try again, or None.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{reason or code.name}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[object, ...]:
        parts = (self.code, self.reason, self.message, self.metadata, self.retry_after_s)
        return type(self), parts


class Refused(CallFailed):
    """The exchange said no; the same request will be refused again until something changes."""


class Unauthenticated(Refused):
    """No API key came with the call (KEY_MISSING), or an unknown one (KEY_UNKNOWN)."""


class PermissionDenied(Refused):
    """The key's account may not do this: ROLE_MISSING, NOT_OWNER, ACCOUNT_HALTED, ..."""


class NotFound(Refused):
    """There is no such thing: UNKNOWN_JOB, UNKNOWN_ORDER, UNKNOWN_INSTRUMENT, ..."""


class InvalidRequest(Refused):
    """A field is outside its range or grammar: PRICE_OFF_TICK, DEADLINE_PASSED, ..."""


class ClientIdRefused(Refused):
    """The client id stands for other content, or is too old: DUPLICATE_CLIENT_ID, ..."""


class LimitReached(Refused):
    """A cap of the account or of the exchange: TOO_MANY_OPEN_JOBS, EXCHANGE_FULL, ..."""


class InsufficientFunds(LimitReached):
    """The available balance does not cover the escrow or the withdrawal."""


class NotNow(Refused):
    """The state of the market or of a lease forbids it: INSTRUMENT_HALTED, JOB_CLOSED, ..."""


class NotImplementedYet(Refused):
    """The method is specified, and this exchange has not built it."""


class Unavailable(CallFailed):
    """The exchange cannot be reached, or is shutting down, also after several tries."""


class Overloaded(CallFailed):
    """The exchange has too much to do, also after several tries."""


class DeadlineExceeded(CallFailed):
    """No answer came in time. The request may have been carried out: ask with its client id."""


class SlowReader(CallFailed):
    """A stream was read too slowly and was cut off."""


class ServerFailed(CallFailed):
    """A defect of the exchange, or of what lies on the way to it."""


class JobNotSettled(FlopexError):
    """A job ended without a whole answer.

    Attributes:
        job: The job as it ended, with its reason and what it paid.
        text: Output that counts: of a cancelled job, what was written and billed; else empty.
    """

    remedy = ""
    """What to do about it: the end of the message."""

    def __init__(self, job: Job, text: str = "") -> None:
        why = f": {job.reason}" if job.reason else ""
        super().__init__(f"job {job.job_id} ended {job.state.name}{why}{self.remedy}")
        self.job = job
        self.text = text

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.job, self.text)


class JobCancelled(JobNotSettled):
    """Its buyer or the operator cancelled it; the compute up to the stop is billed."""


class JobExpired(JobNotSettled):
    """Nobody could finish it in time; nothing was billed."""

    remedy = "; no worker took it in time: offer more or give it more time (jobs.explain tells why)"


class JobFailed(JobNotSettled):
    """Every permitted attempt failed; nothing was billed."""


class Gap(FlopexError):
    """A stream lost messages that cannot be had again: start over from a snapshot."""


class BookDamaged(FlopexError):
    """A local book does not have the exchange's checksum, or a delta does not follow it."""


class Backpressure(FlopexError):
    """More instructions wait for their answer than are permitted: await `room()`."""


class ClientClosed(FlopexError):
    """The client, or this stream of it, is closed."""


_FAMILIES: Final[dict[int, type[CallFailed]]] = {
    1: PermissionDenied,
    2: NotFound,
    3: InvalidRequest,
    4: ClientIdRefused,
    5: LimitReached,
    6: NotNow,
    7: NotNow,
    8: NotNow,
}

_REASONS: Final[dict[str, type[CallFailed]]] = {
    **{
        name.removeprefix(PREFIX): _FAMILIES[number // 100]
        for name, number in Reason.items()
        if number
    },
    "INSUFFICIENT_FUNDS": InsufficientFunds,
    "KEY_MISSING": Unauthenticated,
    "KEY_UNKNOWN": Unauthenticated,
    "DRAINING": Unavailable,
    "OVERLOADED": Overloaded,
    "SLOW_READER": SlowReader,
    "DEADLINE_DEFAULT": DeadlineExceeded,
    "UNIMPLEMENTED": NotImplementedYet,
    "MESSAGE_MALFORMED": InvalidRequest,
}

_CODES: Final[dict[grpc.StatusCode, type[CallFailed]]] = {
    Code.UNAUTHENTICATED: Unauthenticated,
    Code.PERMISSION_DENIED: PermissionDenied,
    Code.NOT_FOUND: NotFound,
    Code.INVALID_ARGUMENT: InvalidRequest,
    Code.ALREADY_EXISTS: ClientIdRefused,
    Code.RESOURCE_EXHAUSTED: LimitReached,
    Code.FAILED_PRECONDITION: NotNow,
    Code.ABORTED: NotNow,
    Code.UNIMPLEMENTED: NotImplementedYet,
    Code.UNAVAILABLE: Unavailable,
    Code.DEADLINE_EXCEEDED: DeadlineExceeded,
    Code.OUT_OF_RANGE: SlowReader,
}


def call_failed(error: grpc.aio.AioRpcError) -> CallFailed:
    """The exception for a gRPC error: by its reason, or by its code where the reason is unknown."""
    details = _details(error)
    code = error.code()
    kind = _REASONS.get(details.reason) if details.domain == DOMAIN else None
    if kind is None:
        kind = _CODES.get(code, ServerFailed)
    message = error.details() or code.name.lower().replace("_", " ")
    return kind(code, details.reason, message, details.metadata, details.retry_after_s)


def _details(error: grpc.aio.AioRpcError) -> Details:
    for name, value in error.trailing_metadata() or ():
        if name == DETAILS_KEY and isinstance(value, bytes):
            return decode_details(value)
    return Details()

"""How refusals become gRPC errors: one exhaustive table, and google.rpc details with each.

Every error carries an ErrorInfo {reason, domain "exchange.v1", metadata}; a RetryInfo says when
trying again may help. See `docs/reference/errors.md`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from exchange.core.events import AnyEvent, Refused
from exchange.core.limits import COST_MAX_NANOS, DEADLINE_MAX_NS, NS_PER_S
from exchange.core.reasons import Reason

DOMAIN: Final = "exchange.v1"
RETRY_AFTER_NS: Final = 100_000_000
"""How long a client is asked to wait before it repeats a call that was refused for load."""
DETAILS_KEY: Final = "grpc-status-details-bin"
MESSAGE_CHARS_MAX: Final = 400
"""Longest message of an error. A character may take 12 bytes of a trailer as gRPC escapes it, and
clients refuse an error whose trailers exceed 16 KiB: they would not even learn its status."""
METADATA_CHARS_MAX: Final = 120
"""Longest value of an error's metadata: what the caller sent comes back cut."""


class Code(enum.IntEnum):
    """The gRPC statuses by their numbers (google.rpc.Code)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_FAMILIES: Final = {
    1: Code.PERMISSION_DENIED,
    2: Code.NOT_FOUND,
    3: Code.INVALID_ARGUMENT,
    4: Code.INVALID_ARGUMENT,
    5: Code.RESOURCE_EXHAUSTED,
    6: Code.FAILED_PRECONDITION,
    7: Code.FAILED_PRECONDITION,
    8: Code.FAILED_PRECONDITION,
}
_EXCEPTIONS: Final = {
    Reason.NAME_TAKEN: Code.ALREADY_EXISTS,
    Reason.DUPLICATE_CLIENT_ID: Code.ALREADY_EXISTS,
    Reason.CLIENT_ID_TOO_OLD: Code.FAILED_PRECONDITION,
}

_TEXTS: Final = {
    Reason.NAME_TAKEN: "this name is taken already: choose another",
    Reason.KEY_MISMATCH: "a worker of this name is registered with another public key: start it "
    "with the worker.key with which the name was taken, or under another name",
    Reason.AMOUNT_NOT_POSITIVE: "an amount of money or a price is zero or negative",
    Reason.AMOUNT_TOO_LARGE: f"an amount of money is over the maximum of {COST_MAX_NANOS} "
    "nano-dollars",
    Reason.VALUE_TOO_SMALL: "the value is so small for this much compute that the bid would be "
    "zero: raise the value, or lower the budget",
    Reason.VALUE_MISSING: "a job needs a value, a limit price or a maximum cost",
    Reason.BUDGET_BELOW_MINIMUM: "the compute budget does not pay for one token: raise it, or "
    "leave it out for the worst case of prompt and answer",
    Reason.CONTEXT_TOO_LONG: "prompt and answer together are longer than any context that is "
    "traded: shorten the prompt, or ask for fewer tokens",
    Reason.DEADLINE_PASSED: "the deadline is not in the future: it counts from now, in nanoseconds",
    Reason.DEADLINE_TOO_FAR: f"the deadline is further away than {DEADLINE_MAX_NS // NS_PER_S} s",
    Reason.DEADLINE_INFEASIBLE: "no hardware class can finish so long an answer by this deadline: "
    "give it more time, or ask for fewer tokens",
    Reason.INSUFFICIENT_FUNDS: "the available balance does not cover this: what open bids and "
    "leases hold is not available",
    Reason.JOB_CLOSED: "the job has already ended",
}
"""Refusals whose name alone does not tell what to do."""

STATUS: Final[dict[Reason, Code]] = {
    reason: _EXCEPTIONS.get(reason, _FAMILIES[reason // 100])
    for reason in Reason
    if reason is not Reason.NONE
}
"""The gRPC status of every reason."""


class RpcError(Exception):
    """Ends the call with a status and its details; what carries the call sends them.

    Args:
        code: The gRPC status.
        reason: Upper snake case, at most 63 characters: the ErrorInfo's reason.
        message: For people. What varies in it stands in `metadata` too.
        metadata: For programs.
        retry_after_ns: Where repeating may help: after this many nanoseconds.
    """

    def __init__(
        self,
        code: Code,
        reason: str,
        message: str,
        metadata: Mapping[str, object] | None = None,
        retry_after_ns: int = 0,
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = _cut(message, MESSAGE_CHARS_MAX)
        self.metadata = {
            key: _cut(str(value), METADATA_CHARS_MAX) for key, value in (metadata or {}).items()
        }
        self.retry_after_ns = retry_after_ns

    def details(self) -> bytes:
        """The serialized google.rpc.Status."""
        status = status_pb2.Status(code=int(self.code), message=self.message)
        info = error_details_pb2.ErrorInfo(
            reason=self.reason, domain=DOMAIN, metadata=self.metadata
        )
        status.details.append(_any(info))
        if self.retry_after_ns:
            delay = duration_pb2.Duration()
            delay.FromNanoseconds(self.retry_after_ns)
            status.details.append(_any(error_details_pb2.RetryInfo(retry_delay=delay)))
        return bytes(status.SerializeToString())


def _cut(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


def _any(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def refusal(
    reason: Reason, message: str = "", metadata: Mapping[str, object] | None = None
) -> RpcError:
    """The error for a reason of the core's table; raise it."""
    return RpcError(STATUS[reason], reason.name, message or refusal_text(reason), metadata)


def refused(event: AnyEvent, now_ns: int) -> RpcError:
    """The error for a command that the core refused; where time alone helps, it says how much."""
    assert isinstance(event, Refused)
    error = refusal(event.reason)
    error.retry_after_ns = max(0, event.retry_at_ns - now_ns)
    return error


def refusal_text(reason: Reason) -> str:
    """What is refused, why, and what to do, where the caller has nothing more exact to say."""
    return _TEXTS.get(reason) or reason_text(reason)


def reason_text(reason: Reason) -> str:
    """A reason in a few words: why something waits, or has ended."""
    return reason.name.replace("_", " ").lower()


def invalid(field: str, message: str) -> RpcError:
    """A field has a value outside its range or grammar."""
    return refusal(Reason.FIELD_INVALID, f"{field} {message}", {"field": field})


def busy(message: str) -> RpcError:
    """Too much waits; the same call may be repeated a little later."""
    return RpcError(Code.RESOURCE_EXHAUSTED, "OVERLOADED", message, retry_after_ns=RETRY_AFTER_NS)


def too_large(size: int, size_max: int) -> RpcError:
    """A message is longer than any that is taken."""
    return RpcError(
        Code.RESOURCE_EXHAUSTED,
        "MESSAGE_TOO_LARGE",
        f"the message has {size} bytes; at most {size_max} are taken",
        {"bytes": size, "bytes_max": size_max},
    )


def draining() -> RpcError:
    """The exchange stops: no new work."""
    return RpcError(
        Code.UNAVAILABLE,
        "DRAINING",
        "the exchange is shutting down; repeat the call once it is back",
        retry_after_ns=10 * RETRY_AFTER_NS,
    )


def read_model_unavailable(message: str) -> RpcError:
    """What lies further back cannot be read now; trading goes on."""
    return RpcError(
        Code.UNAVAILABLE, "READ_MODEL_UNAVAILABLE", message, retry_after_ns=10 * RETRY_AFTER_NS
    )


def slow_reader(message: str, metadata: Mapping[str, object]) -> RpcError:
    """A reader fell behind its bounded queue and is cut off."""
    return RpcError(Code.OUT_OF_RANGE, "SLOW_READER", message, metadata)

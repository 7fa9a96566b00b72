from __future__ import annotations

import pickle

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from exchange.client import errors
from exchange.client.errors import call_failed
from exchange.client.reasons import reason_name
from exchange.client.status import DETAILS_KEY, Details, decode_details
from exchange.core.reasons import Reason
from exchange.gateway import handlers
from exchange.rpc.errors import STATUS, Code, RpcError, busy, draining, refusal, slow_reader

FAMILIES = {
    1: errors.PermissionDenied,
    2: errors.NotFound,
    3: errors.InvalidRequest,
    4: errors.ClientIdRefused,
    5: errors.LimitReached,
    6: errors.NotNow,
    7: errors.NotNow,
    8: errors.NotNow,
}


def received(error: RpcError) -> errors.CallFailed:
    """What a client makes of an error that the exchange sends."""
    metadata = grpc.aio.Metadata((DETAILS_KEY, error.details()))
    return call_failed(
        grpc.aio.AioRpcError(
            handlers.STATUS[error.code], grpc.aio.Metadata(), metadata, details=error.message
        )
    )


def bare(code: grpc.StatusCode, details: str = "") -> errors.CallFailed:
    return call_failed(
        grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
    )


@pytest.mark.parametrize("reason", list(STATUS))
def test_every_reason_has_its_exception(reason: Reason) -> None:
    error = received(refusal(reason, "no", {"field": "x", "ünïcode": "✓"}))
    assert isinstance(error, FAMILIES[reason // 100])
    assert isinstance(error, errors.Refused)
    assert (error.reason, error.message) == (reason.name, "no")
    assert error.code is handlers.STATUS[STATUS[reason]]
    assert error.metadata == {"field": "x", "ünïcode": "✓"}


def test_no_money_is_an_error_of_its_own() -> None:
    assert type(received(refusal(Reason.INSUFFICIENT_FUNDS))) is errors.InsufficientFunds


def test_what_may_help_is_told_apart() -> None:
    assert type(received(draining())) is errors.Unavailable
    assert received(draining()).retry_after_s == 1.0
    assert type(received(busy("full"))) is errors.Overloaded
    assert received(busy("full")).retry_after_s == pytest.approx(0.1)
    assert type(received(slow_reader("slow", {}))) is errors.SlowReader


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (grpc.StatusCode.UNAUTHENTICATED, errors.Unauthenticated),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.LimitReached),
        (grpc.StatusCode.UNIMPLEMENTED, errors.NotImplementedYet),
        (grpc.StatusCode.INTERNAL, errors.ServerFailed),
        (grpc.StatusCode.DATA_LOSS, errors.ServerFailed),
        (grpc.StatusCode.CANCELLED, errors.ServerFailed),
    ],
)
def test_an_error_without_details_goes_by_its_code(
    code: grpc.StatusCode, kind: type[errors.CallFailed]
) -> None:
    error = bare(code)
    assert type(error) is kind
    assert error.reason == ""
    assert error.retry_after_s is None
    assert str(error).startswith(code.name)


def test_an_unknown_reason_goes_by_its_code() -> None:
    error = received(RpcError(Code.NOT_FOUND, "UNKNOWN_UNICORN", "none"))
    assert type(error) is errors.NotFound
    assert error.reason == "UNKNOWN_UNICORN"


def test_errors_survive_pickling() -> None:
    error = received(draining())
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is errors.Unavailable
    assert (again.reason, again.retry_after_s, str(again)) == ("DRAINING", 1.0, str(error))


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type)]
    ours = [k for k in kinds if issubclass(k, errors.FlopexError)]
    lines = (errors.__doc__ or "").splitlines()
    drawn = {}
    stack: list[tuple[int, str]] = []
    for line in lines:
        name = line.strip("│├└─ ").split(" ")[0]
        if any(name == k.__name__ for k in ours) and ("──" in line or name == "FlopexError"):
            depth = line.index(name)
            while stack and stack[-1][0] >= depth:
                stack.pop()
            drawn[name] = stack[-1][1] if stack else "Exception"
            stack.append((depth, name))
    assert drawn == {k.__name__: k.__bases__[0].__name__ for k in ours}


def test_reasons_have_names() -> None:
    assert reason_name(0) == ""
    assert reason_name(Reason.NO_FREE_SLOT) == "NO_FREE_SLOT"
    assert reason_name(999) == "REASON_999"


# ---- the small decoder ----


@given(st.binary(max_size=200))
def test_no_bytes_trouble_the_decoder(data: bytes) -> None:
    decode_details(data)


@given(
    reason=st.text(max_size=63),
    metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    delay=st.none() | st.integers(min_value=0, max_value=10**12),
    cut=st.integers(min_value=0, max_value=30),
)
def test_the_decoder_reads_what_google_writes(
    reason: str, metadata: dict[str, str], delay: int | None, cut: int
) -> None:
    status = status_pb2.Status(code=5, message="m")
    for detail in (
        error_details_pb2.Help(),
        error_details_pb2.ErrorInfo(reason=reason, domain="d", metadata=metadata),
    ):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    if delay is not None:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromNanoseconds(delay)
        packed = any_pb2.Any()
        packed.Pack(info)
        status.details.append(packed)
    data = status.SerializeToString()
    found = decode_details(data)
    assert (found.reason, found.domain, found.metadata) == (reason, "d", metadata)
    assert found.retry_after_s == (None if delay is None else pytest.approx(delay / 1e9))
    decode_details(data[: max(len(data) - cut, 0)])


@pytest.mark.parametrize("data", [b"\xff" * 20, b"\x1a\x7f", b"\x0b", b"\x1a\x03\x0a\x01\xff"])
def test_damaged_details_count_as_absent(data: bytes) -> None:
    assert decode_details(data) == Details()

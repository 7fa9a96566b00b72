"""Enums of the API and of the core have the same numbers (a test holds them equal)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, TypeVar, cast

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from exchange.core import commands, events, reasons
from exchange.rpc.errors import invalid
from exchange.v1 import (
    account_service_pb2,
    job_service_pb2,
    market_data_service_pb2,
    market_pb2,
    order_service_pb2,
    reason_pb2,
    worker_service_pb2,
)
from matching import types as matching_types

E = TypeVar("E", bound=IntEnum)

PAIRS: Final[tuple[tuple[type[IntEnum], EnumTypeWrapper], ...]] = cast(
    "tuple[tuple[type[IntEnum], EnumTypeWrapper], ...]",
    (
        (reasons.Reason, reason_pb2.Reason),
        (matching_types.Side, market_pb2.Side),
        (matching_types.TimeInForce, market_pb2.TimeInForce),
        (matching_types.SelfTradePrevention, market_pb2.SelfTradePrevention),
        (commands.OrderType, market_pb2.OrderType),
        (commands.PostOnlyMode, market_pb2.PostOnlyMode),
        (commands.ClearingMode, market_pb2.ClearingMode),
        (commands.Settlement, market_pb2.Settlement),
        (commands.TradingState, market_pb2.TradingState),
        (commands.StopCause, job_service_pb2.StopCause),
        (commands.WorkerAction, worker_service_pb2.WorkerAction),
        (events.Fault, job_service_pb2.Fault),
        (events.JobState, job_service_pb2.JobState),
        (events.OrderState, order_service_pb2.OrderState),
        (events.WorkerState, worker_service_pb2.WorkerState),
        (events.EntryKind, account_service_pb2.EntryKind),
    ),
)
"""Each enum of the core with its twin of the API."""


def from_proto(kind: type[E], value: int, field: str, default: E | None = None) -> E:
    """The core's member for an API enum value.

    Args:
        kind: The core's enum.
        value: The number that came in.
        field: The field's name, for the error.
        default: What 0 (unspecified) means; None: it is refused.

    Raises:
        RpcError: INVALID_ARGUMENT, reason FIELD_INVALID.
    """
    if value == 0 and default is not None:
        return default
    try:
        return kind(value)
    except ValueError as error:
        allowed = ", ".join(member.name for member in kind if member.value)
        raise invalid(field, f"must be one of {allowed}") from error


def side(value: int) -> market_pb2.Side.ValueType:
    """Side, as the API has it."""
    return cast("market_pb2.Side.ValueType", value)


def reason(value: int) -> reason_pb2.Reason.ValueType:
    """Reason, as the API has it."""
    return cast("reason_pb2.Reason.ValueType", value)


def time_in_force(value: int) -> market_pb2.TimeInForce.ValueType:
    """Time in force, as the API has it."""
    return cast("market_pb2.TimeInForce.ValueType", value)


def order_type(value: int) -> market_pb2.OrderType.ValueType:
    """An order's type, as the API has it."""
    return cast("market_pb2.OrderType.ValueType", value)


def order_state(value: int) -> order_service_pb2.OrderState.ValueType:
    """An order's state, as the API has it."""
    return cast("order_service_pb2.OrderState.ValueType", value)


def settlement(value: int) -> market_pb2.Settlement.ValueType:
    """Settlement, as the API has it."""
    return cast("market_pb2.Settlement.ValueType", value)


def clearing_mode(value: int) -> market_pb2.ClearingMode.ValueType:
    """Clearing mode, as the API has it."""
    return cast("market_pb2.ClearingMode.ValueType", value)


def trading_state(value: int) -> market_pb2.TradingState.ValueType:
    """An instrument's state, as the API has it."""
    return cast("market_pb2.TradingState.ValueType", value)


def book_event(value: int) -> market_data_service_pb2.BookEventKind.ValueType:
    """What happened to a book, as the API has it."""
    return cast("market_data_service_pb2.BookEventKind.ValueType", value)


def job_state(value: int) -> job_service_pb2.JobState.ValueType:
    """A job's state, as the API has it."""
    return cast("job_service_pb2.JobState.ValueType", value)


def fault(value: int) -> job_service_pb2.Fault.ValueType:
    """Fault, as the API has it."""
    return cast("job_service_pb2.Fault.ValueType", value)


def stop_cause(value: int) -> job_service_pb2.StopCause.ValueType:
    """Stop cause, as the API has it."""
    return cast("job_service_pb2.StopCause.ValueType", value)


def worker_state(value: int) -> worker_service_pb2.WorkerState.ValueType:
    """A worker's state, as the API has it."""
    return cast("worker_service_pb2.WorkerState.ValueType", value)


def entry_kind(value: int) -> account_service_pb2.EntryKind.ValueType:
    """A ledger entry's kind, as the API has it."""
    return cast("account_service_pb2.EntryKind.ValueType", value)

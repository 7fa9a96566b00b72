"""The numbers that the core and the API share are the same numbers."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import pytest

from exchange.core import commands, events
from exchange.core.reasons import Reason
from exchange.v1 import (
    account_service_pb2,
    job_service_pb2,
    market_pb2,
    order_service_pb2,
    reason_pb2,
    worker_service_pb2,
)
from matching import types

SHARED: list[tuple[type[IntEnum], Any, str]] = [
    (Reason, reason_pb2.Reason, "REASON"),
    (types.Side, market_pb2.Side, "SIDE"),
    (types.TimeInForce, market_pb2.TimeInForce, "TIME_IN_FORCE"),
    (types.SelfTradePrevention, market_pb2.SelfTradePrevention, "SELF_TRADE_PREVENTION"),
    (commands.OrderType, market_pb2.OrderType, "ORDER_TYPE"),
    (commands.PostOnlyMode, market_pb2.PostOnlyMode, "POST_ONLY_MODE"),
    (commands.ClearingMode, market_pb2.ClearingMode, "CLEARING_MODE"),
    (commands.Settlement, market_pb2.Settlement, "SETTLEMENT"),
    (commands.TradingState, market_pb2.TradingState, "TRADING_STATE"),
    (commands.StopCause, job_service_pb2.StopCause, "STOP_CAUSE"),
    (commands.WorkerAction, worker_service_pb2.WorkerAction, "WORKER_ACTION"),
    (events.Fault, job_service_pb2.Fault, "FAULT"),
    (events.JobState, job_service_pb2.JobState, "JOB_STATE"),
    (events.OrderState, order_service_pb2.OrderState, "ORDER_STATE"),
    (events.WorkerState, worker_service_pb2.WorkerState, "WORKER_STATE"),
    (events.EntryKind, account_service_pb2.EntryKind, "ENTRY_KIND"),
]


@pytest.mark.parametrize("shared", SHARED, ids=lambda shared: shared[2])
def test_same_numbers(shared: tuple[type[IntEnum], Any, str]) -> None:
    ours, theirs, prefix = shared
    expected = {f"{prefix}_{member.name}": int(member) for member in ours if member}
    assert dict(theirs.items()) == {f"{prefix}_UNSPECIFIED": 0, **expected}

"""A short history of several clients, and histories that are none."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from exchange.rpc.convert import orders
from exchange.v1 import order_service_pb2 as pb
from tests.integration.history import (
    COMMANDS,
    Answered,
    Finding,
    check_once,
    check_real_time,
    history,
)
from tests.integration.history_client import STREAM, Exchanged

LENGTH = int(os.environ.get("FLOPEX_HISTORY", str(COMMANDS)))


def answered(sent_ns: int, answered_ns: int, first: int, last: int, client: int = 0) -> Answered:
    exchanged = Exchanged(STREAM, sent_ns, answered_ns, b"", b"")
    return Answered(client, sent_ns, answered_ns, first, last, exchanged)


@pytest.mark.integration
@pytest.mark.timeout(600)
async def test_what_clients_heard_is_one_history(tmp_path: Path) -> None:
    found = await history(tmp_path, LENGTH, 2, seed=1)
    assert found["commands"] == LENGTH
    assert found["pairs in order"] > 0
    assert found["records"] > LENGTH


def test_answers_that_overlap_are_found() -> None:
    assert check_once([answered(1, 2, 5, 6), answered(1, 2, 7, 9)]) == 5
    with pytest.raises(Finding, match="sequence 9 was acknowledged twice"):
        check_once([answered(1, 2, 9, 9), answered(1, 2, 7, 9)])


def test_an_order_against_the_clock_is_found() -> None:
    one = [answered(10, 20, 1, 4), answered(30, 40, 9, 9)]
    assert check_real_time([one, [answered(15, 50, 5, 8, client=1)]]) == 1
    with pytest.raises(Finding, match="3 was sent after 4 had been answered"):
        check_real_time([one, [answered(21, 50, 3, 8, client=1)]])


@pytest.mark.integration
@pytest.mark.timeout(600)
async def test_an_answer_that_no_replay_gives_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the replay's answers are spoilt, which is the same to the check."""
    honest = orders.ack_ranges

    def spoilt(ranges: Iterable[tuple[int, int, int]]) -> list[pb.AckRange]:
        return honest([(first, count, order_id + 1) for first, count, order_id in ranges])

    monkeypatch.setattr(orders, "ack_ranges", spoilt)
    with pytest.raises(Finding, match="gives another answer"):
        await history(tmp_path, 500, 2, seed=2)

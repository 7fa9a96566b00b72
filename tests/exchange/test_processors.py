"""Giving way, in a thread of its own: it cannot be taken back."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from exchange import processors
from exchange.processors import REST, REST_MAX_S, WORK_MIN_S, give_way, paced, pause


def _after_giving_way() -> int:
    give_way()
    return os.sched_getscheduler(0)


def _in_a_thread(work: Callable[[], int]) -> int:
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(work).result()


def _try() -> int:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    return os.sched_getscheduler(0)


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux has this class")
def test_the_thread_alone_goes_into_the_idle_class() -> None:
    before = os.sched_getscheduler(0)
    try:
        _in_a_thread(_try)
    except PermissionError:
        pytest.skip("a sandbox forbids it")
    assert _in_a_thread(_after_giving_way) == os.SCHED_IDLE
    assert os.sched_getscheduler(0) == before


def test_where_the_system_has_no_such_class_nothing_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = os.sched_getscheduler(0)
    monkeypatch.delattr(os, "SCHED_IDLE", raising=False)
    assert _in_a_thread(_after_giving_way) == before


class Pacing:
    """What a thread that gives way rests, by a clock and a number of processors of the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self.cpu_s = 5.0
        self.rests: list[float] = []
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)))
        clock = SimpleNamespace(thread_time=lambda: self.cpu_s, sleep=self.rests.append)
        monkeypatch.setattr(processors, "time", clock)

    def run(self, *worked_s: float, gives_way: bool = True) -> list[float]:
        """Work for so long before each pause, in a thread of its own; the rests."""

        def work() -> int:
            if gives_way:
                give_way()
            for one in worked_s:
                self.cpu_s += one
                pause()
            return 0

        _in_a_thread(work)
        return self.rests


def _idle_class_is_allowed() -> bool:
    try:
        return hasattr(os, "SCHED_IDLE") and _in_a_thread(_try) == os.SCHED_IDLE
    except PermissionError:
        return False


@pytest.mark.skipif(not _idle_class_is_allowed(), reason="no SCHED_IDLE here")
def test_where_processors_are_few_it_rests_by_what_it_worked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Pacing(monkeypatch, 2).run(0.004, WORK_MIN_S / 2, WORK_MIN_S, 0.0, 10.0)
    assert found == pytest.approx([REST * 0.004, REST * 1.5 * WORK_MIN_S, REST_MAX_S])


@pytest.mark.parametrize(("count", "gives_way"), [(processors.PROCESSORS_GOOD, True), (2, False)])
def test_it_rests_neither_where_there_are_enough_nor_where_it_did_not_give_way(
    monkeypatch: pytest.MonkeyPatch, count: int, gives_way: bool
) -> None:
    assert Pacing(monkeypatch, count).run(1.0, gives_way=gives_way) == []


def test_paced_rows_are_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[int] = []
    monkeypatch.setattr(processors, "pause", lambda: pauses.append(1))
    rows = [(i,) for i in range(2 * processors.PACED_ROWS + 1)]
    assert list(paced(rows)) == rows
    assert len(pauses) == 3

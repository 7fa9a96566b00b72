"""Giving way, in a thread of its own: it cannot be taken back."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from exchange.processors import give_way


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

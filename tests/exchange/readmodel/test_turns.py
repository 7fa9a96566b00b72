from __future__ import annotations

import os
from contextlib import closing

import pytest

from exchange.readmodel.turns import BEHIND_MAX_S, Turns

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux has this class")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def policy() -> int:
    return os.sched_getscheduler(0)


def test_it_yields_but_for_a_start_and_a_minute_behind() -> None:
    """BEHIND_MAX_S: then the caller works, until nothing is left to do."""
    clock = Clock()
    with closing(Turns(yields=True, clock=clock)) as turns:
        ours = policy()
        assert ours != os.SCHED_IDLE
        assert turns.take(policy) == ours, "a start is not put off"
        turns.saw(behind=False)
        assert turns.take(policy) == os.SCHED_IDLE
        turns.saw(behind=True)
        clock.now += BEHIND_MAX_S / 2
        turns.saw(behind=True)
        assert turns.take(policy) == os.SCHED_IDLE
        clock.now += BEHIND_MAX_S / 2
        assert turns.take(policy) == ours
        turns.saw(behind=False)
        assert turns.take(policy) == os.SCHED_IDLE
        assert policy() == ours


def test_where_others_share_the_interpreter_it_never_yields() -> None:
    with closing(Turns(yields=False)) as turns:
        turns.saw(behind=False)
        assert turns.take(policy) == policy()


def test_what_the_work_raises_is_raised() -> None:
    with closing(Turns(yields=True)) as turns:
        turns.saw(behind=False)
        with pytest.raises(ZeroDivisionError):
            turns.take(lambda: 1 // 0)


def test_where_a_sandbox_forbids_it_the_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", forbidden)
    with closing(Turns(yields=True)) as turns:
        turns.saw(behind=False)
        assert turns.take(lambda: 7) == 7

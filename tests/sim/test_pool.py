"""The pool of processes: it works, and where its block fails nothing is waited for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from sim.pool import processes
from tests.waiting import WITHIN_S


def test_it_works_in_other_processes_that_leave_ctrl_c_to_the_first() -> None:
    with processes(1) as pool:
        assert pool.submit(os.getpid).result() != os.getpid()
        assert pool.submit(signal.getsignal, signal.SIGINT).result() is signal.SIG_IGN


def test_what_is_worked_at_is_given_up_where_the_block_fails() -> None:
    def broken_off() -> None:
        with processes(2) as pool:
            for _ in range(3):
                pool.submit(time.sleep, 10 * WITHIN_S)
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert time.monotonic() - began < WITHIN_S
    assert multiprocessing.active_children() == []

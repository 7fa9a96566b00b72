"""Ctrl-C: whenever it comes, and whichever thread of the process gets it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import flopex
from flopex.interrupts import interruptible, run
from flopex.leaving import STATUS_INTERRUPTED, leave_at_ctrl_c
from tests.waiting import WITHIN_S

PACKAGE = Path(flopex.__file__).parent
SOON_S = 0.2

ENDED = (KeyboardInterrupt, asyncio.CancelledError)


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def ctrl_c_here() -> None:
    """As the kernel may choose where the main thread has a signal already."""
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)


@contextlib.contextmanager
def soon(call: Callable[[], None]) -> Iterator[None]:
    """Another thread calls it while the block runs."""
    timer = threading.Timer(SOON_S, call)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@pytest.mark.parametrize("send", [ctrl_c, ctrl_c_here])
def test_a_quiet_command_ends_whichever_thread_gets_the_signal(send: Callable[[], None]) -> None:
    late: list[bool] = []

    async def quiet() -> None:
        # Without this the loop would never wake, and this test never fail.
        asyncio.get_running_loop().call_later(WITHIN_S, late.append, True)
        await asyncio.Event().wait()

    with soon(send), pytest.raises(ENDED):
        run(quiet())
    assert late == []


def test_a_command_that_is_cancelled_may_clean_up_and_end_well() -> None:
    async def watch() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    with soon(ctrl_c):
        run(watch())


def test_the_second_ctrl_c_breaks_off_the_cleaning_up() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            threading.Timer(SOON_S, ctrl_c).start()
            await asyncio.Event().wait()

    with soon(ctrl_c), pytest.raises(ENDED):
        run(stubborn())


def test_long_work_is_interrupted_where_it_is_and_cleans_up() -> None:
    steps = []

    def work() -> None:
        try:
            time.sleep(WITHIN_S)
            steps.append("done")
        finally:
            steps.append("cleaned up")

    async def command() -> None:
        try:
            await interruptible(work)
        finally:
            await asyncio.sleep(0)
            steps.append("ended")

    with soon(ctrl_c), pytest.raises(ENDED):
        run(command())
    assert steps == ["cleaned up", "ended"]


def test_long_work_does_not_begin_after_a_ctrl_c() -> None:
    began: list[bool] = []

    async def command() -> None:
        ctrl_c()  # as in the midst of an import: nothing hears of it before something is awaited
        await interruptible(began.append, True)

    with pytest.raises(ENDED):
        run(command())
    assert began == []


def test_long_work_answers_and_fails_as_if_it_were_called() -> None:
    async def command() -> None:
        assert await interruptible(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await interruptible(divmod, 7, 0)

    run(command())


def test_no_command_works_in_a_thread() -> None:
    """Nothing can interrupt a thread, and a process ends after all of its threads."""
    for path in [*(PACKAGE / "cli").glob("*.py"), *(PACKAGE / "live").glob("*.py")]:
        assert not re.search(r"to_thread|run_in_executor|ThreadPool", path.read_text()), path


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_after_a_command_signals_are_handled_as_before(handler: signal.Handlers) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        run(asyncio.sleep(0))
        assert signal.getsignal(signal.SIGINT) is handler
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGINT, before)


def test_who_was_started_to_ignore_ctrl_c_ignores_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        leave_at_ctrl_c()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN

        async def command() -> None:
            ctrl_c()
            await interruptible(ctrl_c)

        run(command())
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_command_runs_on_any_thread() -> None:
    done = []

    async def command() -> None:
        done.append(await interruptible(threading.current_thread))

    thread = threading.Thread(target=lambda: run(command()))
    thread.start()
    thread.join(WITHIN_S)
    assert done == [thread]


DURING_IMPORTS = """
import os, signal, sys

class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupted())
sys.argv = ["flopex", "instruments"]
from flopex.__main__ import main
main()
"""


@pytest.mark.parametrize("module", ["flopex.cli", "typer", "flopex.cli.why"])
def test_ctrl_c_during_imports_leaves_in_silence(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DURING_IMPORTS.format(module=module)],
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )
    assert (done.returncode, done.stdout, done.stderr) == (STATUS_INTERRUPTED, "", "")


def test_the_entry_point_imports_nothing_that_takes_long() -> None:
    script = "import sys, flopex.__main__; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", script], text=True).split()
    assert not {"typing", "asyncio", "typer", "grpc", "flopex.cli"} & set(loaded)

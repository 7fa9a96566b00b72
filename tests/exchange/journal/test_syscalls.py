"""System calls that fail, where strace is installed; `make soak-journal` takes every one."""

from __future__ import annotations

from pathlib import Path

import pytest

from exchange.journal.writers import WriteMode
from tests.exchange.journal.syscalls import GROUPS, fail_at, run_writer, tracing_works

pytestmark = pytest.mark.skipif(not tracing_works(), reason="strace cannot trace here")


def test_a_group_is_one_system_call(tmp_path: Path) -> None:
    ended = {mode: run_writer(tmp_path / mode, mode) for mode in WriteMode}
    assert {one.acknowledged for one in ended.values()} == {GROUPS}
    direct, two_calls = ended[WriteMode.DIRECT].calls, ended[WriteMode.FDATASYNC].calls
    # What is left are the segments' zeros and headers, which cost the same in every way.
    assert direct == ended[WriteMode.DSYNC].calls
    assert two_calls["fdatasync"] == direct["fdatasync"] + GROUPS
    assert two_calls["pwrite64"] == direct["pwrite64"]
    overlapped = ended[WriteMode.OVERLAPPED].calls
    if overlapped["io_submit"]:
        assert overlapped["io_submit"] == overlapped["io_getevents"] == GROUPS
        assert overlapped["pwrite64"] == direct["pwrite64"] - GROUPS


@pytest.mark.parametrize(
    ("mode", "call", "at", "fault"),
    [
        (WriteMode.DIRECT, "pwrite64", 8, "error=EIO"),
        (WriteMode.DIRECT, "pwrite64", 9, "error=ENOSPC"),
        (WriteMode.OVERLAPPED, "io_submit", 5, "error=EIO"),
        (WriteMode.OVERLAPPED, "io_getevents", 6, "error=EIO"),
        (WriteMode.OVERLAPPED, "io_getevents", 7, "signal=KILL"),
        (WriteMode.DSYNC, "pwrite64", 10, "error=EIO"),
        (WriteMode.FDATASYNC, "fdatasync", 6, "error=EIO"),
        (WriteMode.DIRECT, "rename", 2, "error=ENOSPC"),
        (WriteMode.DIRECT, "fsync", 3, "signal=KILL"),
    ],
)
def test_a_call_that_fails_loses_nothing_that_was_acknowledged(
    tmp_path: Path, mode: WriteMode, call: str, at: int, fault: str
) -> None:
    fail_at(tmp_path / "journal", mode, call, at, fault)

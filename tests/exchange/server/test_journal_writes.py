"""The way in which the journal is written is the operator's choice, from the flag to the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from exchange.journal import LocalLog
from exchange.journal.writers import WRITE_MODE, WriteMode
from exchange.testing import InProcessExchange
from flopex.config import JournalWrites


def test_the_command_line_knows_the_ways() -> None:
    assert {one.name: one.value for one in JournalWrites} == {
        one.name: one.value for one in WriteMode
    }
    assert JournalWrites.DIRECT.value == WRITE_MODE.value


@pytest.mark.integration
async def test_a_server_writes_as_it_was_told(tmp_path: Path) -> None:
    for mode in (WriteMode.FDATASYNC, WriteMode.DSYNC):
        async with InProcessExchange(tmp_path, write_mode=mode, gateway=False) as exchange:
            await exchange.trader("alice")
            log = exchange.engine._log
            assert isinstance(log, LocalLog)
            assert log.write_mode is mode

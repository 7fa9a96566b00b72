"""A data directory that has lost its journal is not taken for a new one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from exchange.journal import JournalError, JournalMissing, JournalNotFound
from exchange.receipts import Receipt
from exchange.testing import InProcessExchange

pytestmark = pytest.mark.integration


def remove_segments(data: Path) -> None:
    for segment in (data / "journal").glob("*.log"):
        segment.unlink()


def remove_folder(data: Path) -> None:
    shutil.rmtree(data / "journal")


@pytest.mark.parametrize("lose", [remove_segments, remove_folder])
@pytest.mark.parametrize("kept", ["blobs", "receipts", "both"])
async def test_a_lost_journal_is_told_and_nothing_is_begun(
    tmp_path: Path, lose: Callable[[Path], None], kept: str
) -> None:
    async with InProcessExchange(tmp_path) as exchange:
        await exchange.trader("alice")
        exchange.server.services.receipts.append([Receipt(1, 1, b"signed")])
    saved = shutil.copytree(tmp_path / "journal", tmp_path / "saved")
    lose(tmp_path)
    if kept != "both":
        shutil.rmtree(tmp_path / ("receipts" if kept == "blobs" else "blobs"))
    for _ in range(2):  # refusing makes no journal either
        with pytest.raises(JournalMissing, match="restore a backup") as caught:
            await InProcessExchange(tmp_path).server.start()
        assert isinstance(caught.value, JournalNotFound | JournalError)
        names = {path.name for path in caught.value.traces}
        assert names == {"both": {"SEAL", "receipts"}, "blobs": {"SEAL"}}.get(kept, {"receipts"})
        assert not list((tmp_path / "journal").glob("*.log"))
    shutil.rmtree(tmp_path / "journal", ignore_errors=True)
    saved.rename(tmp_path / "journal")
    async with InProcessExchange(tmp_path) as exchange:
        assert "alice" in exchange.core.account_by_name


async def test_a_first_start_that_was_cut_off_can_be_repeated(tmp_path: Path) -> None:
    """What the first start makes before the journal, and what an operator may lay out, is fine."""
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "LOCK").touch()
    (tmp_path / "blobs" / "keys").mkdir(parents=True)
    (tmp_path / "master.key").write_text("ab" * 32)
    (tmp_path / "receipts").mkdir()
    async with InProcessExchange(tmp_path) as exchange:
        await exchange.trader("alice")

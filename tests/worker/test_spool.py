from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from exchange.v1 import worker_service_pb2 as pb
from tests.worker.leased import begin
from tests.worker.scripted import ScriptedExchange, make_config, running_worker, text_of
from worker.spool import DRAFT_SUFFIX, FOLDER, Spool

FENCE = pb.Fence(epoch=1, sequence=9)


def receipt(lease_id: int) -> pb.Receipt:
    return pb.Receipt(lease_id=lease_id, fence=FENCE, flops=5, signature=b"s" * 64)


def chunks(lease_id: int) -> list[pb.Chunk]:
    return [pb.Chunk(lease_id=lease_id, fence=FENCE, index=i, text="é", tokens=1) for i in (0, 1)]


def test_receipts_are_kept_until_they_are_forgotten(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    assert spool.kept() == []
    spool.keep(receipt(11), chunks(11))
    spool.keep(receipt(2), [])
    spool.keep(receipt(2), [])
    assert Spool(tmp_path).kept() == [(receipt(2), []), (receipt(11), chunks(11))]
    for path in (tmp_path / FOLDER).iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / FOLDER).stat().st_mode) == 0o700
    spool.forget(2, pb.Fence(epoch=2, sequence=9))  # another grant
    spool.forget(11, FENCE)
    spool.forget(11, FENCE)
    assert spool.kept() == [(receipt(2), [])]


def test_what_could_not_be_written_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space left"):
            spool.keep(receipt(1), chunks(1))
    assert list((tmp_path / FOLDER).iterdir()) == []
    # Nor does what a process was killed over.
    (tmp_path / FOLDER / f"1-1-9{DRAFT_SUFFIX}").write_bytes(b"half")
    assert spool.kept() == []
    assert list((tmp_path / FOLDER).iterdir()) == []


@pytest.mark.parametrize("cut", [0, 1, 40])
def test_a_damaged_file_is_told_and_left(
    tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path)
    spool.keep(receipt(1), chunks(1))
    (path,) = (tmp_path / FOLDER).iterdir()
    path.write_bytes(path.read_bytes()[:cut])
    assert spool.kept() == []
    assert path.exists()
    assert str(path) in caplog.text


@pytest.mark.parametrize("stands", [True, False])
async def test_a_new_process_sends_the_receipts_of_one_that_died(
    exchange: ScriptedExchange, tmp_path: Path, stands: bool
) -> None:
    config = make_config(exchange.target, tmp_path)
    async with running_worker(config):
        session, offer = await begin(exchange)
        _, first = await session.output()
    async with running_worker(config):
        session = await exchange.session()
        resumed = [pb.ResumedLease(lease_id=1, next_index=0)] if stands else []
        register = await session.welcome(*resumed)
        assert list(register.held) == [pb.HeldLease(lease_id=1, fence=offer.fence)]
        sent, again = await session.output(ignore=("accept", "started", "quote", "heartbeat"))
        assert text_of(sent) == ("token " * 3 if stands else "")
        assert again == first
        await session.accepted()
        await session.offer(2)
        await session.next("accept")
        await session.output(ignore=("started", "quote", "heartbeat"))
        await session.accepted(2)
        await session.quiet()
    assert list((tmp_path / FOLDER).iterdir()) == []


async def test_a_full_disk_keeps_no_receipt_from_being_sent(
    exchange: ScriptedExchange, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FOLDER).write_text("not a folder")
    async with running_worker(make_config(exchange.target, tmp_path)):
        session, _ = await begin(exchange)
        _, sent = await session.output()
        assert sent.flops
    assert "could not be kept" in caplog.text

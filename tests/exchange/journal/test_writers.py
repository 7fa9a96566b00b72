"""The ways to make a group durable, on real file systems, and what replaces which."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exchange.journal import (
    GroupRecord,
    JournalPoisoned,
    JournalWriteFailed,
    LocalLog,
    read_journal,
    verify_journal,
    writers,
)
from exchange.journal.files import BLOCK_BYTES_UNKNOWN, OsFileSystem
from exchange.journal.format import BLOCK_ALIGNMENTS, decode_header
from exchange.journal.overlapped import OverlappedWrite, give_back, lend
from exchange.journal.segment import segment_paths
from exchange.journal.writers import WriteMode, open_writer, write_whole

OpenLog = Callable[..., LocalLog]
Fill = Callable[..., list[GroupRecord]]
MEMORY = Path("/dev/shm")
CONTEXTS = Path("/proc/sys/fs/aio-max-nr")
"""Where a kernel that has io_submit(2) says how many may use it."""
SEGMENT_BYTES = 1 << 20


def refuse(
    monkeypatch: pytest.MonkeyPatch, flags: int, number: int = errno.EINVAL
) -> Callable[[], None]:
    """Let the file system answer with an error to any of these flags."""
    real = os.open

    def refusing(path: Any, asked: int, *rest: Any, **options: Any) -> int:
        if asked & flags:
            raise OSError(number, os.strerror(number))
        return real(path, asked, *rest, **options)

    monkeypatch.setattr(os, "open", refusing)
    return lambda: monkeypatch.setattr(os, "open", real)


def must_overlap(mode: WriteMode | None) -> None:
    """A kernel that can write while we go on must be used; skips where that cannot be."""
    if not CONTEXTS.exists() or mode in (WriteMode.DSYNC, WriteMode.FDATASYNC):
        pytest.skip("no overlapped writes by this kernel, or no direct ones to this file system")
    try:
        give_back(lend())
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EAGAIN):
            pytest.skip(f"this machine lends none: {error}")
        raise
    assert mode is WriteMode.OVERLAPPED


@pytest.fixture
def segment(tmp_path: Path, open_log: OpenLog) -> Path:
    open_log(tmp_path / "journal").close()
    return segment_paths(OsFileSystem(), tmp_path / "journal")[0]


@pytest.mark.parametrize("alignment", BLOCK_ALIGNMENTS)
def test_all_ways_write_the_same_bytes(
    tmp_path: Path, open_log: OpenLog, fill: Fill, alignment: int
) -> None:
    contents = []
    for mode in WriteMode:
        folder = tmp_path / mode
        options = {"segment_bytes": SEGMENT_BYTES, "alignment": alignment}
        with open_log(folder, files=OsFileSystem(mode), **options) as log:
            written = fill(log, 5)
            # Beyond the memory that a direct writer begins with, and over the segment's end.
            for size in (200_000, 500_000, 400_000, 10):
                written += fill(log, 1, size=size)
            assert list(log.read_from(1)) == written
        assert log.write_mode is None
        assert list(read_journal(folder)) == written
        contents.append([p.read_bytes() for p in segment_paths(OsFileSystem(), folder)])
    assert len(contents[0]) == 2
    assert all(content == contents[0] for content in contents)


def test_a_journal_may_change_its_way_from_start_to_start(
    tmp_path: Path, open_log: OpenLog, fill: Fill
) -> None:
    written = []
    for mode in [*WriteMode, *WriteMode]:
        with open_log(tmp_path, files=OsFileSystem(mode)) as log:
            assert log.recovered.torn_tail is None
            written += fill(log, 4)
    assert list(read_journal(tmp_path)) == written


@pytest.mark.parametrize(
    ("flags", "preferred", "found"),
    [
        (os.O_DIRECT, WriteMode.DIRECT, WriteMode.DSYNC),
        (os.O_DIRECT, WriteMode.DSYNC, WriteMode.DSYNC),
        # O_SYNC holds the bits of O_DSYNC.
        (os.O_DIRECT | os.O_DSYNC, WriteMode.DIRECT, WriteMode.FDATASYNC),
        (os.O_DSYNC, WriteMode.DSYNC, WriteMode.FDATASYNC),
    ],
)
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_way_that_is_refused_is_replaced_by_the_next(
    segment: Path,
    open_log: OpenLog,
    fill: Fill,
    monkeypatch: pytest.MonkeyPatch,
    flags: int,
    preferred: WriteMode,
    found: WriteMode,
    number: int,
) -> None:
    allow = refuse(monkeypatch, flags, number)
    with open_log(segment.parent, files=OsFileSystem(preferred)) as log:
        assert log.write_mode is found
        written = fill(log, 6)
    allow()
    assert list(read_journal(segment.parent)) == written


def test_an_alignment_that_is_refused_is_found_before_the_first_group(
    segment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: Any) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "preadv", refusing)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - each entry is a descriptor
    writer = open_writer(segment, 512, WriteMode.DIRECT)
    assert writer.mode is WriteMode.DSYNC
    writer.close()
    writer.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_an_overlapped_write_is_done_while_the_caller_goes_on(segment: Path) -> None:
    writer = open_writer(segment, 4096, WriteMode.OVERLAPPED)
    must_overlap(writer.mode)
    block = b"block" * 4096
    block += bytes(-len(block) % 4096)
    writer.begin(block, 4096)
    deadline = time.monotonic() + 10
    with segment.open("rb", buffering=0) as file:
        while (found := os.pread(file.fileno(), len(block), 4096)) != block:
            assert time.monotonic() < deadline
    assert found == block
    writer.finish()
    writer.begin(bytes(4096), 8192)
    writer.take_back()
    assert segment.read_bytes()[8192 : 8192 + 4096] == bytes(4096)
    writer.close()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EAGAIN, errno.EPERM])
def test_where_nothing_can_overlap_writes_are_direct(
    segment: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refusing() -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(writers, "lend", refusing)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - each entry is a descriptor
    writer = open_writer(segment, 512)
    assert writer.mode is WriteMode.DIRECT
    writer.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.parametrize("taken", [0, 512, 1000, 1024])
def test_an_overlapped_write_that_is_cut_short_is_carried_on(
    tmp_path: Path, open_log: OpenLog, fill: Fill, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    options = {"segment_bytes": SEGMENT_BYTES, "alignment": 512}
    with open_log(tmp_path, files=OsFileSystem(WriteMode.OVERLAPPED), **options) as log:
        must_overlap(log.write_mode)
        finish = OverlappedWrite.finish

        def short(write: OverlappedWrite) -> int:
            finish(write)
            return taken

        monkeypatch.setattr(OverlappedWrite, "finish", short)
        written = fill(log, 3, size=5000)
    assert list(read_journal(tmp_path)) == written


def test_an_overlapped_write_that_fails_ends_the_log(
    tmp_path: Path, open_log: OpenLog, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_log(tmp_path, files=OsFileSystem(WriteMode.OVERLAPPED)) as log:
        must_overlap(log.write_mode)
        written = fill(log, 2)
        finish = OverlappedWrite.finish

        def failing(write: OverlappedWrite) -> int:
            finish(write)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(OverlappedWrite, "finish", failing)
        with pytest.raises(JournalWriteFailed, match="Input/output error"):
            fill(log, 1)
        monkeypatch.undo()
        with pytest.raises(JournalPoisoned):
            fill(log, 1)
    # It was under way, and may be there; it was not acknowledged.
    assert list(read_journal(tmp_path))[: len(written)] == written


def test_a_write_that_fails_is_taken_back_all_the_same(
    tmp_path: Path, open_log: OpenLog, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_log(tmp_path, segment_bytes=SEGMENT_BYTES) as log:
        written = fill(log, 2)
        log.begin(GroupRecord(log.next_sequence, 1, log.epoch, b"no" * 5000))
        finish = OverlappedWrite.finish

        def failing(write: OverlappedWrite) -> int:
            finish(write)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(OverlappedWrite, "finish", failing)
        log._failed = "a step of another thread"
        log.take_back()
    assert list(read_journal(tmp_path)) == written


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EPERM])
def test_what_cannot_be_handed_over_is_written_at_the_end(
    tmp_path: Path, open_log: OpenLog, fill: Fill, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refusing(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(OverlappedWrite, "begin", refusing)
    with open_log(tmp_path) as log:
        written = fill(log, 3)
    assert list(read_journal(tmp_path)) == written


@pytest.mark.parametrize("mode", list(WriteMode))
def test_a_group_that_is_taken_back_was_never_there(
    tmp_path: Path, open_log: OpenLog, fill: Fill, mode: WriteMode
) -> None:
    with open_log(tmp_path, files=OsFileSystem(mode), segment_bytes=SEGMENT_BYTES) as log:
        written = fill(log, 2)
        log.begin(GroupRecord(log.next_sequence, 1, log.epoch, b"no" * 5000))
        log.take_back()
        with pytest.raises(JournalPoisoned, match="taken back"):
            fill(log, 1)
    with open_log(tmp_path) as log:
        assert log.recovered.torn_tail is None
        written += fill(log, 1)
    assert list(read_journal(tmp_path)) == written


def test_other_errors_are_no_refusals(segment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, os.O_DSYNC, errno.EACCES)
    with pytest.raises(PermissionError):
        open_writer(segment, 512, WriteMode.DIRECT)
    segment.unlink()
    for mode in WriteMode:
        with pytest.raises(OSError, match=r"No such file|Permission"):
            open_writer(segment, 512, mode)


@pytest.mark.parametrize("mode", list(WriteMode))
@pytest.mark.skipif(not MEMORY.is_dir(), reason="no file system in memory")
def test_a_file_system_in_memory_works_in_some_way(
    open_log: OpenLog, fill: Fill, mode: WriteMode
) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(dir=MEMORY) as name:
        assert OsFileSystem().block_bytes(Path(name)) == BLOCK_BYTES_UNKNOWN
        with open_log(Path(name) / "journal", files=OsFileSystem(mode)) as log:
            assert log.write_mode is not None
            written = fill(log, 20)
        assert list(read_journal(Path(name) / "journal")) == written


def test_the_alignment_is_the_devices_block(tmp_path: Path, open_log: OpenLog) -> None:
    block_bytes = OsFileSystem().block_bytes(tmp_path)
    assert block_bytes.bit_count() == 1
    open_log(tmp_path / "journal", alignment=None).close()
    expected = min(max(512, block_bytes), 4096)
    path = verify_journal(tmp_path / "journal").segments[0].path
    assert decode_header(path.read_bytes()[:4096]).alignment == expected


@pytest.mark.parametrize(
    ("block_bytes", "alignment"),
    [(1, 512), (512, 512), (513, 1024), (4096, 4096), (16384, 4096)],
)
def test_the_format_bounds_the_alignment(
    tmp_path: Path,
    open_log: OpenLog,
    monkeypatch: pytest.MonkeyPatch,
    block_bytes: int,
    alignment: int,
) -> None:
    monkeypatch.setattr(OsFileSystem, "block_bytes", lambda *_: block_bytes)
    open_log(tmp_path / "journal", alignment=None).close()
    path = verify_journal(tmp_path / "journal").segments[0].path
    assert decode_header(path.read_bytes()[:4096]).alignment == alignment


def test_writing_goes_on_where_the_device_stopped() -> None:
    taken = iter([512 + 100, 412, 0])
    asked: list[int] = []

    def put(at: int) -> int:
        asked.append(at)
        return next(taken)

    with pytest.raises(OSError, match="took no more bytes"):
        write_whole(put, 1536, 512)
    assert asked == [0, 512]
    taken = iter([1000, 36, 500])
    asked.clear()
    write_whole(put, 1536)
    assert asked == [0, 1000, 1036]

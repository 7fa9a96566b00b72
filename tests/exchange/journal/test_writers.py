"""The three ways to make a group durable, on real file systems, and what replaces which."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exchange.journal import GroupRecord, LocalLog, read_journal, verify_journal
from exchange.journal.files import BLOCK_BYTES_UNKNOWN, OsFileSystem
from exchange.journal.format import BLOCK_ALIGNMENTS, decode_header
from exchange.journal.segment import segment_paths
from exchange.journal.writers import WRITE_MODE, WriteMode, open_writer, write_whole

OpenLog = Callable[..., LocalLog]
Fill = Callable[..., list[GroupRecord]]
MEMORY = Path("/dev/shm")
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
    assert contents[0] == contents[1] == contents[2]


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
    with open_log(tmp_path / "journal", alignment=None) as log:
        assert log.write_mode in {WRITE_MODE, *WriteMode}
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

"""What the journal's tests and the long runs share: groups that follow from their number, a short
run that ends in whatever the disk does, and the judgement of what is found afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from exchange.journal import (
    GroupRecord,
    JournalDamaged,
    JournalPoisoned,
    JournalStat,
    JournalWriteFailed,
    LocalLog,
    TornTail,
    read_journal,
    verify_journal,
)
from exchange.journal.format import SECTOR_BYTES
from exchange.journal.segment import SegmentScan, read_header
from exchange.journal.simulated import SimulatedCrash, SimulatedDisk

RULES_VERSION = 3
GENESIS = b"test exchange"
SEGMENT_BYTES = 8192
FOLDER = Path("journal")
GROUPS = 14
GROUP_BYTES = 1800
"""Up to four sectors, so that one in the middle can be lost."""


def make_group(first_sequence: int, *, size: int = 0, epoch: int = 1) -> GroupRecord:
    """A group of 1 to 5 records; its size in bytes is chosen if none is given.

    Another epoch writes another group at the same sequence, as another life of an exchange does.
    """
    chance = Random(first_sequence + (epoch << 32))
    count = chance.randint(1, 5)
    return GroupRecord(
        first_sequence, count, epoch, chance.randbytes(size or chance.randint(1, GROUP_BYTES))
    )


def open_test_log(directory: Path = FOLDER, **options: Any) -> LocalLog:
    """A log with the tests' own settings."""
    defaults: dict[str, Any] = {
        "rules_version": RULES_VERSION,
        "genesis": GENESIS,
        "segment_bytes": SEGMENT_BYTES,
        "alignment": SECTOR_BYTES,
    }
    return LocalLog(directory, **(defaults | options))


class Run:
    """A short run: what was acknowledged, what was on its way, and how it ended.

    Args:
        disk: With its faults.
        groups: How many are appended.
        before: What the journal holds already.
        take_back: Begin one group more, and take it back.
    """

    def __init__(
        self,
        disk: SimulatedDisk,
        groups: int = GROUPS,
        before: list[GroupRecord] | None = None,
        *,
        take_back: bool = False,
    ) -> None:
        self.disk = disk
        self.acknowledged: list[GroupRecord] = list(before or ())
        self.sent: list[GroupRecord] = list(before or ())
        self.error: BaseException | None = None
        log = None
        try:
            log = open_test_log(files=disk)
            assert list(log.read_from(1)) == self.acknowledged
            epoch = log.epoch + 1
            for _ in range(groups):
                self.sent.append(make_group(log.next_sequence, epoch=epoch))
                log.append(self.sent[-1])
                self.acknowledged.append(self.sent[-1])
                if len(self.sent) % 2:
                    log.prepare(1500)
            if take_back:
                self._take_back(log, epoch)
        except (JournalWriteFailed, SimulatedCrash) as error:
            self.error = error
            if log is not None and isinstance(error, JournalWriteFailed):
                must_be_poisoned(log)
        finally:
            if log is not None:
                log.close()

    def _take_back(self, log: LocalLog, epoch: int) -> None:
        self.sent.append(make_group(log.next_sequence, epoch=epoch))
        log.begin(self.sent[-1])
        log.take_back()
        self.sent.pop()

    def check(self, disk: SimulatedDisk) -> None:
        """Open again: all that was acknowledged, and at most the one group that was on its way."""
        with open_test_log(files=disk) as log:
            found = self.judge(log)
            # What recovery has accepted, it may act on: the next loss of power takes none of it.
            check_content(disk.crash(Random(1)), found)
            more = GroupRecord(log.next_sequence, 1, log.epoch + 1, b"more")
            log.append(more)
            check_content(disk, [*found, more])
            check_content(disk.crash(Random(2)), [*found, more])

    def judge(self, log: LocalLog) -> list[GroupRecord]:
        """What the log holds, which may be nothing but what it must hold."""
        found = list(log.read_from(1))
        assert found in (self.acknowledged, self.sent)
        return found


def must_be_poisoned(log: LocalLog) -> None:
    """Nothing may be written after a write that failed."""
    with pytest.raises(JournalPoisoned, match="an earlier write failed"):
        log.append(make_group(log.next_sequence))


def check_content(disk: SimulatedDisk, groups: list[GroupRecord]) -> None:
    """A reader without the lock finds exactly these."""
    assert list(read_journal(FOLDER, files=disk)) == groups


def flip_bits(
    disk: SimulatedDisk, path: Path, offsets: range, report: Callable[[int], None] | None = None
) -> int:
    """Flip each bit of these bytes of a whole journal; each must be named by its offset.

    A bit of a header or a group is damage, whose named region holds it and whose checksum covers no
    more than that. A bit in the zeros after the last group is a torn tail that ends with it. A bit
    of the last group must be told from one before it, because only the last may be given up.

    Args:
        disk: Where the journal lies.
        path: One of its segments.
        offsets: Of the bytes, in the segment.
        report: Told of the offset after each byte.

    Returns:
        How many bits were flipped.
    """
    stat = verify_journal(FOLDER, files=disk)
    assert stat.torn_tail is None
    last_path = stat.segments[-1].path
    last_start, end = last_group_of(disk, stat)
    content = disk.content(path)
    for offset in offsets:
        for bit in range(8):
            where = (path.name, offset, bit)
            content[offset] ^= 1 << bit
            found = what_is_found(disk)
            if path == last_path and offset >= end:
                assert isinstance(found, TornTail), where
                assert (found.offset, found.offset + found.bytes - 1) == (end, offset), where
            else:
                assert isinstance(found, JournalDamaged), where
                assert found.path == path, where
                assert found.offset <= offset < found.offset + found.length, where
                assert found.last_group == (path == last_path and offset >= last_start), where
            content[offset] ^= 1 << bit
        if report is not None:
            report(offset)
    assert verify_journal(FOLDER, files=disk) == stat
    return len(offsets) * 8


def what_is_found(disk: SimulatedDisk) -> JournalDamaged | TornTail | None:
    """What a reader says about a journal that may not be whole."""
    try:
        return verify_journal(FOLDER, files=disk).torn_tail
    except JournalDamaged as damage:
        return damage


def last_group_of(disk: SimulatedDisk, stat: JournalStat) -> tuple[int, int]:
    """Where the last group begins and ends in the last segment, in bytes."""
    path = stat.segments[-1].path
    file = disk.open(path)
    scan = SegmentScan(file, path, read_header(file, path))
    starts = [scan.offset]
    starts += [scan.offset for _ in scan.groups()]
    assert starts[-1] == stat.segments[-1].used_bytes
    return starts[-2], starts[-1]

"""Real processes on a real file system: the lock, and writers that are killed."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from exchange.journal import (
    GroupRecord,
    JournalFollower,
    JournalLocked,
    LocalLog,
    backup_journal,
    restore_journal,
)
from exchange.journal.log import LOCK_NAME

OpenLog = Callable[..., LocalLog]
KILLS = 20
ROOT = Path(__file__).parents[3]

# Appends groups as fast as it can and tells which sequence comes next once a group is durable.
WRITER = """
import os, sys
from pathlib import Path
from random import Random
from exchange.journal import GroupRecord, LocalLog

folder, epoch = Path(sys.argv[1]), int(sys.argv[2])
log = LocalLog(folder, rules_version=3, genesis=b"test exchange", segment_bytes=65536)
os.write(1, b"open\\n")
while True:
    chance = Random(log.next_sequence)
    count = chance.randint(1, 50)
    payload = chance.randbytes(chance.randint(1, 20_000))
    log.append(GroupRecord(log.next_sequence, count, epoch, payload))
    os.write(1, b"%d\\n" % log.next_sequence)
"""


def expected(first_sequence: int, epoch: int) -> GroupRecord:
    chance = Random(first_sequence)
    count = chance.randint(1, 50)
    return GroupRecord(first_sequence, count, epoch, chance.randbytes(chance.randint(1, 20_000)))


def start_writer(folder: Path, epoch: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(epoch)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def kill_after(writer: subprocess.Popen[bytes], seconds: float) -> bytes:
    """Kill a writer that long after it began to write; what it had said by then.

    Its words are read as they come, or it would stop at a full pipe.
    """
    assert writer.stdout is not None
    descriptor = writer.stdout.fileno()
    said = os.read(descriptor, 65536)
    assert said.startswith(b"open\n")
    # Some of them begin to write before they are killed, however busy the machine is.
    while seconds > 0.03 and said.count(b"\n") < 2:
        said += os.read(descriptor, 65536)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([descriptor], [], [], left)[0]:
            said += os.read(descriptor, 65536)
    writer.kill()
    said += writer.stdout.read()
    writer.wait()
    writer.stdout.close()
    return said


def check_journal(groups: list[GroupRecord]) -> None:
    following, epoch = 1, 0
    for group in groups:
        assert group == expected(following, group.epoch)
        assert group.epoch >= epoch
        following, epoch = group.next_sequence, group.epoch


def test_a_writer_that_is_killed_loses_nothing(tmp_path: Path, open_log: OpenLog) -> None:
    chance = Random(7)
    acknowledged = 0
    for cycle in range(KILLS):
        said = kill_after(start_writer(tmp_path, cycle + 1), chance.uniform(0, 0.06))
        complete = said[: said.rfind(b"\n") + 1].split()[1:]
        acknowledged = int(complete[-1]) if complete else acknowledged
        with open_log(tmp_path, segment_bytes=65536) as log:
            # All that was acknowledged, and at most one group more.
            assert acknowledged <= log.next_sequence <= acknowledged + 50
            acknowledged = log.next_sequence
            if cycle % 5 == 4:
                check_journal(list(log.read_from(1)))
    assert acknowledged > KILLS, "the writers never got to write"


def test_a_second_process_is_locked_out(tmp_path: Path, open_log: OpenLog) -> None:
    writer = start_writer(tmp_path, 1)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        with pytest.raises(JournalLocked, match=f"is in use by process {writer.pid}:") as caught:
            open_log(tmp_path)
        assert caught.value.path == tmp_path / LOCK_NAME
        assert int(caught.value.holder) == writer.pid
    finally:
        end_process(writer)
    # The lock went with its process.
    open_log(tmp_path).close()


def end_process(writer: subprocess.Popen[bytes]) -> None:
    writer.kill()
    writer.wait()
    if writer.stdout is not None:
        writer.stdout.close()


def test_reading_along_and_backing_up_while_another_process_writes(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    writer = start_writer(folder, 1)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        follower = JournalFollower(folder)
        groups: list[GroupRecord] = []
        backups = 0
        end = time.monotonic() + 0.6
        # At least as long as it takes: a busy machine lets the writer wait.
        while time.monotonic() < end or len(groups) <= 10 or not backups:
            os.read(writer.stdout.fileno(), 65536)
            groups += follower.poll()
            if len(groups) > 10 * (backups + 1) and backups < 2:
                backup_journal(folder, tmp_path / f"backup{backups}")
                backups += 1
        follower.close()
    finally:
        end_process(writer)
    assert backups > 0
    check_journal(groups)
    assert len(groups) > 10
    for number in range(backups):
        stat = restore_journal(tmp_path / f"backup{number}", tmp_path / f"restored{number}")
        assert stat.next_sequence > 1

"""Killed at any moment, a feed goes on without a gap and without a double."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exchange.readmodel.check import check_read_model
from exchange.readmodel.database import connect
from exchange.readmodel.errors import ReadModelUnavailable
from exchange.readmodel.feed import Feed
from exchange.readmodel.progress import read_progress
from tests.exchange.core import sizes
from tests.exchange.readmodel.journals import Writer, chaos_commands
from tests.exchange.readmodel.test_feed import built, everything
from tests.waiting import WITHIN_S

NewUrl = Callable[[], str]
KILLS = 6 * sizes.SOAK

SLOW_FEED = """
import sys, time
from pathlib import Path
from threading import Event
from exchange.readmodel import feed, order_rows
from exchange.readmodel.follow import follow
from tests.waiting import WITHIN_S
feed.POLL_GROUPS, feed.BATCH_ROWS_MAX = 1, 0  # a transaction for each commit group
write = order_rows.OrderRows.write
def slowly(self, database):
    time.sleep(0.0005)  # most of the time something is half written
    write(self, database)
order_rows.OrderRows.write = slowly
print("begins", flush=True)
follow(Path(sys.argv[1]), sys.argv[2], Event())
"""


def start(directory: Path, url: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_FEED, str(directory), url], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begins\n"
    return process


def sequence(url: str) -> int:
    try:
        database = connect(url, read_only=True)
    except ReadModelUnavailable:
        return 0
    try:
        progress = read_progress(database)
        return progress.sequence if progress is not None else 0
    finally:
        database.close()


def reach(url: str, target: int) -> None:
    """Wait until a read model contains a sequence."""
    deadline = time.monotonic() + WITHIN_S
    while sequence(url) < target:
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.002)


@pytest.mark.integration
def test_killed_in_the_middle_of_a_batch_it_resumes(tmp_path: Path, new_url: NewUrl) -> None:
    rng = random.Random(7)
    writer = Writer(tmp_path / "journal")
    writer.append(chaos_commands(11, 1_500), largest=3)
    url = new_url()
    seen = [0]
    for _ in range(KILLS):
        target = seen[-1] + writer.core.sequence // (2 * KILLS)
        process = start(writer.directory, url)
        try:
            reach(url, target)
            time.sleep(rng.random() * 0.004)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        seen.append(sequence(url))
    assert seen == sorted(seen)
    assert len(set(seen)) > KILLS // 2, "it was killed too late"
    database = connect(url)
    feed = Feed.open(writer.directory, database)
    feed.run_to_end()
    report = check_read_model(writer.directory, database)
    assert report.equal, report.examples
    found = everything(database)
    database.close()
    assert found == built(writer.directory, new_url())
    writer.close()

"""Killed at any moment, a feed goes on without a gap and without a double."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
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

NewUrl = Callable[[], str]
KILLS = 6 * sizes.SOAK
COMMANDS = 1_500
WRITES_MAX = COMMANDS // 3 // KILLS
"""Of each life, so that the last one dies before it has read everything."""

# It dies by itself, as a signal from outside comes too late where this process is stopped.
MORTAL_FEED = """
import os, signal, sys
from pathlib import Path
from threading import Event
from exchange.readmodel import feed, order_rows
from exchange.readmodel.follow import follow
feed.POLL_GROUPS, feed.BATCH_ROWS_MAX = 1, 0  # a transaction for each commit group
write, left, half = order_rows.OrderRows.write, int(sys.argv[3]), sys.argv[4] == "half"
def deadly(self, database):
    global left
    left -= 1
    if half:
        write(self, database)
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    if not half:
        write(self, database)
order_rows.OrderRows.write = deadly
follow(Path(sys.argv[1]), sys.argv[2], Event())
"""


def live(directory: Path, url: str, writes: int, where: str) -> None:
    """A feed's life, up to its death at this of its writes: before it or after, uncommitted."""
    arguments = (str(directory), url, str(writes), where)
    done = subprocess.run([sys.executable, "-c", MORTAL_FEED, *arguments], check=False)
    assert done.returncode == -signal.SIGKILL


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


@pytest.mark.integration
def test_killed_in_the_middle_of_a_batch_it_resumes(tmp_path: Path, new_url: NewUrl) -> None:
    rng = random.Random(7)
    writer = Writer(tmp_path / "journal")
    writer.append(chaos_commands(11, COMMANDS), largest=3)
    url = new_url()
    seen = [0]
    for _ in range(KILLS):
        live(writer.directory, url, rng.randint(2, WRITES_MAX), rng.choice(("half", "none")))
        seen.append(sequence(url))
    assert seen == sorted(seen)
    assert len(set(seen)) == KILLS + 1, "each life came further"
    database = connect(url)
    feed = Feed.open(writer.directory, database)
    feed.run_to_end()
    report = check_read_model(writer.directory, database)
    assert report.equal, report.examples
    found = everything(database)
    database.close()
    assert found == built(writer.directory, new_url())
    writer.close()

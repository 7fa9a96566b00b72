from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from exchange.readmodel import feed as feed_module
from exchange.readmodel.database import connect, sqlite_url
from exchange.readmodel.feed import Feed
from exchange.readmodel.follow import IDLE_MIN_S, REST_MAX_S, follow
from exchange.readmodel.progress import read_progress
from tests.exchange.readmodel.journals import Writer, order_commands


class Clock(Event):
    """Notes how long it is waited for, without waiting; set after so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._times = times

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        if len(self.waits) == self._times:
            self.set()
        return self.is_set()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Writer]:
    writer = Writer(tmp_path / "journal")
    writer.append(order_commands(1, 300), largest=10)
    yield writer
    writer.close()


def test_one_that_is_behind_does_not_rest(
    journal: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many transactions, and one rest, after the last."""
    monkeypatch.setattr(feed_module, "POLL_GROUPS", 2)
    monkeypatch.setattr(feed_module, "BATCH_ROWS_MAX", 10)
    stop, url = Clock(2), sqlite_url(tmp_path / "read-model")
    follow(journal.directory, url, stop)
    rest, idle = stop.waits
    assert 0 < rest <= REST_MAX_S
    assert idle == IDLE_MIN_S
    database = connect(url, read_only=True)
    progress = read_progress(database)
    database.close()
    assert progress is not None
    assert progress.sequence == journal.core.sequence


def test_a_rest_is_bounded(
    journal: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REST_MAX_S: however long a batch took."""
    monkeypatch.setattr("exchange.readmodel.follow.REST", 10**9)
    stop = Clock(1)
    follow(journal.directory, sqlite_url(tmp_path / "read-model"), stop)
    assert stop.waits == [REST_MAX_S]


def test_it_is_told_when_it_keeps_up(journal: Writer, tmp_path: Path) -> None:
    """`behind` is about the last step alone."""
    database = connect(sqlite_url(tmp_path / "read-model"))
    feed = Feed.open(journal.directory, database)
    while feed.step():
        pass
    assert not feed.behind
    feed.close()
    database.close()

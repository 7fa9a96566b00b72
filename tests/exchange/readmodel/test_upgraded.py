"""A read model goes on over an upgrade that changed no event, or says why it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exchange.core.limits import EVENTS_SINCE_RULES, RULES_VERSION
from exchange.readmodel import feed as feed_module
from exchange.readmodel.check import check_read_model
from exchange.readmodel.database import Database, connect, sqlite_url
from exchange.readmodel.errors import ReadModelBeforeUpgrade
from exchange.readmodel.feed import Feed
from exchange.readmodel.progress import START, read_progress
from exchange.recovery import follow
from flopex.cli.exits import ExitCode
from tests.exchange.recovery.journals import GENESIS, OLDER, go_on, upgraded
from tests.flopex.cli.runner import run

OLD = 3


@pytest.fixture(autouse=True)
def genesis(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old release's journal is one of the tests of recovery."""
    monkeypatch.setattr(feed_module, "GENESIS", GENESIS)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A read model that the old release fed to its journal's end."""
    url = sqlite_url(tmp_path / "read-model.sqlite3")
    fed = connect(url)
    with monkeypatch.context() as old:
        old.setattr(feed_module, "RULES_VERSION", OLD)
        feed = Feed.open(OLDER[OLD] / "journal", fed)
        feed.run_to_end()
        feed.close()
    fed.change(f"UPDATE progress SET rules_version = {OLD}")
    fed.close()
    found = connect(url)
    yield found
    found.close()


def test_only_rules_with_the_same_events_are_usable() -> None:
    usable = [v for v in range(RULES_VERSION + 2) if START._replace(rules_version=v).usable]
    assert usable == list(range(EVENTS_SINCE_RULES, RULES_VERSION + 1))


def test_one_that_stood_at_the_end_goes_on(tmp_path: Path, database: Database) -> None:
    data, at = tmp_path / "data", upgraded(tmp_path / "data")
    report = check_read_model(data / "journal", database, data / "snapshots")
    assert (report.equal, report.sequence) == (True, at), report.examples
    go_on(data, 5)
    feed = Feed.open(data / "journal", database, data / "snapshots")
    assert (feed.progress.sequence, feed.progress.rules_version) == (at, OLD)
    feed.verify()
    feed.run_to_end()
    feed.verify()
    feed.close()
    progress = read_progress(database)
    assert progress is not None
    assert (progress.sequence, progress.rules_version) == (at + 5, RULES_VERSION)
    follow(data / "journal", data / "snapshots", GENESIS)
    report = check_read_model(data / "journal", database, data / "snapshots")
    assert (report.equal, report.sequence) == (True, at + 5), report.examples


def test_one_that_was_behind_says_what_to_do_and_stays(tmp_path: Path, database: Database) -> None:
    data, at = tmp_path / "data", upgraded(tmp_path / "data")
    database.change(f"UPDATE progress SET sequence = {at - 5}")
    before = read_progress(database)
    says = f"at {at + 1}, .* start the release that wrote it until its read model is at {at} "
    with pytest.raises(ReadModelBeforeUpgrade, match=says):
        Feed.open(data / "journal", database, data / "snapshots")
    with pytest.raises(ReadModelBeforeUpgrade, match=says):
        check_read_model(data / "journal", database, data / "snapshots")
    assert read_progress(database) == before


@pytest.mark.parametrize("fed", [False, True])
def test_none_is_emptied_that_cannot_be_made_again(
    tmp_path: Path, database: Database, fed: bool
) -> None:
    """Whether or not an exchange runs on it, which would be left to make it again."""
    upgraded(tmp_path / "data")
    if fed:
        database.lock()
    url = sqlite_url(tmp_path / "read-model.sqlite3")
    done = run("readmodel", "rebuild", "--data", tmp_path / "data", "--read-model", url)
    assert done.exit_code == ExitCode.FAILED
    assert "start the release that wrote it" in done.stderr
    assert database.query("SELECT COUNT(*) FROM ledger_entries")[0][0]


def test_a_new_one_cannot_be_begun(tmp_path: Path) -> None:
    upgraded(tmp_path / "data")
    database = connect(sqlite_url(tmp_path / "new.sqlite3"))
    with pytest.raises(ReadModelBeforeUpgrade):
        Feed.open(tmp_path / "data" / "journal", database, tmp_path / "data" / "snapshots")
    assert read_progress(database) is None
    database.close()

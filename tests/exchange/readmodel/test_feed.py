from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exchange.core.commands import Command
from exchange.journal import JournalFollower, Position
from exchange.readmodel import feed as feed_module
from exchange.readmodel.check import check_read_model
from exchange.readmodel.database import Database, Row, connect
from exchange.readmodel.errors import ReadModelLocked, ReadModelMoved, ReadModelUnavailable
from exchange.readmodel.feed import Feed
from exchange.readmodel.progress import make_tables, read_progress
from exchange.readmodel.schema import TABLES
from exchange.recovery import follow
from tests.exchange.readmodel.journals import GENESIS, Writer, chaos_commands, order_commands

NewUrl = Callable[[], str]
SEEDS = (1, 2, 3)


def everything(database: Database) -> dict[str, list[Row]]:
    """All rows of all tables."""
    rows = {}
    for table in TABLES:
        columns = ", ".join(table.columns)
        key = ", ".join(table.key)
        rows[table.name] = database.query(f"SELECT {columns} FROM {table.name} ORDER BY {key}")
    return rows


def built(directory: Path, url: str) -> dict[str, list[Row]]:
    """A read model that was made in one go."""
    database = connect(url)
    try:
        Feed.open(directory, database).run_to_end()
        return everything(database)
    finally:
        database.close()


@pytest.mark.parametrize("commands", [chaos_commands, order_commands])
@pytest.mark.parametrize("seed", SEEDS)
def test_it_says_what_the_core_says(
    tmp_path: Path, new_url: NewUrl, seed: int, commands: Callable[[int, int], list[Command]]
) -> None:
    writer = Writer(tmp_path / "journal")
    writer.append(commands(seed, 700), seed)
    database = connect(new_url())
    feed = Feed.open(writer.directory, database)
    feed.run_to_end()
    report = check_read_model(writer.directory, database)
    assert report.equal, report.examples
    assert report.sequence == writer.core.sequence == feed.progress.sequence
    assert report.compared["totals"]
    assert report.compared["accounts"] > 4
    database.close()
    writer.close()


@pytest.mark.parametrize("made", [chaos_commands, order_commands])
def test_reading_along_gives_the_same_as_reading_at_once(
    tmp_path: Path, new_url: NewUrl, made: Callable[[int, int], list[Command]]
) -> None:
    """Small pieces, and a new feed now and then, against one that reads all in one go."""
    commands = made(5, 600)
    writer = Writer(tmp_path / "journal")
    url = new_url()
    database = connect(url)
    feed = None
    for number, at in enumerate(range(0, len(commands), 60)):
        writer.append(commands[at : at + 60], number, largest=7)
        if feed is None or number % 3 == 0:
            database.close()
            database = connect(url)
            feed = Feed.open(writer.directory, database)
        feed.run_to_end()
        assert feed.progress.sequence == writer.core.sequence
    found = everything(database)
    database.close()
    assert found == built(writer.directory, new_url())
    writer.close()


def test_a_feed_goes_on_from_a_snapshot(
    tmp_path: Path, new_url: NewUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It replays what came after the snapshot only, so the journal's beginning may be gone."""
    commands = chaos_commands(6, 500)
    writer = Writer(tmp_path / "journal")
    snapshots, url = tmp_path / "snapshots", new_url()
    writer.append(commands[:200], 1)
    database = connect(url)
    Feed.open(writer.directory, database, snapshots).run_to_end()
    database.close()
    taken = follow(writer.directory, snapshots, GENESIS)
    assert 0 < taken.sequence < writer.core.sequence
    writer.append(commands[200:], 2)

    opened: list[Position | None] = []
    whole = JournalFollower

    def spy(*args: Any, anchor: Position | None = None, **options: Any) -> JournalFollower:
        opened.append(anchor)
        return whole(*args, anchor=anchor, **options)

    monkeypatch.setattr(feed_module, "JournalFollower", spy)
    database = connect(url)
    feed = Feed.open(writer.directory, database, snapshots)
    feed.run_to_end()
    assert [anchor and anchor.next_sequence - 1 for anchor in opened] == [taken.sequence]
    found = everything(database)
    feed.close()
    database.close()
    assert found == built(writer.directory, new_url())
    writer.close()


def test_a_check_finds_what_is_wrong(tmp_path: Path, new_url: NewUrl) -> None:
    writer = Writer(tmp_path / "journal")
    writer.append(chaos_commands(1, 400))
    database = connect(new_url())
    Feed.open(writer.directory, database).run_to_end()
    for change in (
        "UPDATE accounts SET balance_nanos = balance_nanos + 1 WHERE account_id = 3",
        "DELETE FROM ledger_entries WHERE number = (SELECT MAX(number) FROM ledger_entries)",
        "UPDATE jobs SET state = 7 WHERE job_id = 1",
        "DELETE FROM orders WHERE order_id = 1",
        "DELETE FROM trades WHERE number = 1",
        "UPDATE workers SET name = 'nobody'",
    ):
        database.change("BEGIN")
        assert database.change(change)
        database.change("COMMIT")
        report = check_read_model(writer.directory, database)
        assert not report.equal, change
        with database.transaction():
            make_tables(database)
        database.close()
        database = connect(new_url())
        Feed.open(writer.directory, database).run_to_end()
    database.close()
    writer.close()


def test_only_one_feeds_it(tmp_path: Path, new_url: NewUrl) -> None:
    writer = Writer(tmp_path / "journal")
    writer.append(order_commands(1, 30))
    url = new_url()
    first, second = connect(url), connect(url)
    Feed.open(writer.directory, first)
    with pytest.raises(ReadModelLocked):
        Feed.open(writer.directory, second)
    first.close()
    Feed.open(writer.directory, second).run_to_end()
    second.close()
    writer.close()


def test_a_feed_that_was_overtaken_writes_nothing(tmp_path: Path, new_url: NewUrl) -> None:
    """Whatever happened to the lock: rows only ever follow the sequence that they belong to."""
    writer = Writer(tmp_path / "journal")
    commands = order_commands(2, 200)
    writer.append(commands[:100])
    url = new_url()
    database, other = connect(url), connect(url)
    feed = Feed.open(writer.directory, database)
    feed.run_to_end()
    writer.append(commands[100:])
    other.change("UPDATE progress SET sequence = sequence - 1")
    before = everything(database)
    with pytest.raises(ReadModelMoved):
        feed.step()
    assert everything(database) == before
    database.close()
    other.close()
    writer.close()


def test_it_is_begun_anew_for_another_journal_or_other_tables(
    tmp_path: Path, new_url: NewUrl
) -> None:
    first, second = Writer(tmp_path / "first"), Writer(tmp_path / "second")
    first.append(chaos_commands(1, 300))
    second.append(chaos_commands(2, 400))
    url = new_url()
    built(first.directory, url)
    expected = built(second.directory, new_url())
    assert built(second.directory, url) == expected
    database = connect(url)
    database.change("UPDATE progress SET schema_version = 0")
    database.close()
    assert built(second.directory, url) == expected
    # Restored from a backup, the journal is shorter than what was read of it.
    database = connect(url)
    database.change("UPDATE progress SET sequence = sequence + 1000")
    database.close()
    assert built(second.directory, url) == expected
    first.close()
    second.close()


def test_a_batch_that_fails_leaves_nothing(
    tmp_path: Path, new_url: NewUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last statement of a transaction fails: rows and sequence stay together."""
    writer = Writer(tmp_path / "journal")
    commands = chaos_commands(3, 400)
    writer.append(commands[:200])
    url = new_url()
    database = connect(url)
    feed = Feed.open(writer.directory, database)
    feed.run_to_end()
    before = everything(database)
    writer.append(commands[200:])

    def fail(sql: str, rows: object) -> None:
        if "leases" in sql:
            raise ReadModelUnavailable("the disk is full")
        type(database).change_many(database, sql, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "change_many", fail)
    with pytest.raises(ReadModelUnavailable):
        feed.run_to_end()
    assert everything(database) == before
    database.close()
    assert built(writer.directory, url) == built(writer.directory, new_url())
    writer.close()


def test_a_transaction_is_bounded(
    tmp_path: Path, new_url: NewUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BATCH_ROWS_MAX and POLL_GROUPS: a long journal is taken in by many transactions."""
    writer = Writer(tmp_path / "journal")
    writer.append(order_commands(1, 500), largest=4)
    monkeypatch.setattr(feed_module, "POLL_GROUPS", 2)
    monkeypatch.setattr(feed_module, "BATCH_ROWS_MAX", 10)
    database = connect(new_url())
    feed = Feed.open(writer.directory, database)
    steps = []
    while taken := feed.step():
        steps.append(taken)
        assert feed.behind or feed.progress.sequence == writer.core.sequence
    assert sum(steps) == writer.core.sequence
    assert len(steps) > 30
    assert max(steps) <= 40
    progress = read_progress(database)
    assert progress is not None
    assert progress.sequence == writer.core.sequence
    database.close()
    writer.close()

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from exchange.readmodel import model as model_module
from exchange.readmodel import queries
from exchange.readmodel.database import Database, connect, sqlite_url
from exchange.readmodel.errors import (
    ReadModelBehind,
    ReadModelBusy,
    ReadModelUnavailable,
    ReadModelUrlInvalid,
)
from exchange.readmodel.feed import Feed
from exchange.readmodel.model import QUESTIONS_MAX, ReadModel
from exchange.readmodel.schema import PROGRESS
from tests.exchange.http.site import eventually
from tests.exchange.readmodel.journals import Writer, order_commands
from tests.waiting import WITHIN_S

NewUrl = Callable[[], str]


class Head:
    """A journal's head that a test moves."""

    def __init__(self) -> None:
        self.sequence = 0

    def __call__(self) -> int:
        return self.sequence


@pytest.fixture
async def asked(
    request: pytest.FixtureRequest, tmp_path: Path, new_url: NewUrl
) -> AsyncIterator[tuple[Writer, Database, ReadModel, Head]]:
    writer = Writer(tmp_path / "journal")
    writer.append(order_commands(1, 100))
    url = new_url()
    database = connect(url)
    head = Head()
    model = ReadModel(url, head, fresh_within_s=getattr(request, "param", WITHIN_S))
    model.start()
    yield writer, database, model, head
    await model.close()
    database.close()
    writer.close()


async def test_a_question_waits_until_its_own_time_is_contained(
    asked: tuple[Writer, Database, ReadModel, Head],
) -> None:
    writer, database, model, head = asked
    feed = Feed.open(writer.directory, database)
    feed.run_to_end()
    writer.append(order_commands(2, 50))
    head.sequence = writer.core.sequence
    asking = asyncio.create_task(model.ask(lambda db: queries.account_orders(db, 5, 1)))
    await asyncio.sleep(0.1)
    assert not asking.done()
    assert model.lag > 0
    await asyncio.to_thread(feed.run_to_end)
    answer = await asking
    assert answer.sequence == head.sequence
    assert model.lag == 0


@pytest.mark.parametrize("asked", [0.02], indirect=True)
async def test_what_is_behind_says_so(
    asked: tuple[Writer, Database, ReadModel, Head],
) -> None:
    """`fresh_within_s`: after that it answers with what there is, or not where that is no use."""
    writer, database, model, head = asked
    Feed.open(writer.directory, database).run_to_end()
    head.sequence = writer.core.sequence + 10
    answer = await model.ask(lambda _: None)
    assert answer.sequence == writer.core.sequence
    with pytest.raises(ReadModelBehind):
        await model.ask(lambda _: None, must_be_fresh=True)


async def test_no_read_model_yet(
    asked: tuple[Writer, Database, ReadModel, Head],
) -> None:
    writer, database, model, _ = asked
    with pytest.raises(ReadModelUnavailable):
        await model.ask(lambda _: None)
    assert model.errors == 0  # that it is yet to be made is no failure
    Feed.open(writer.directory, database).run_to_end()
    assert (await model.ask(lambda _: None)).sequence == writer.core.sequence


async def test_a_read_model_that_goes_away_is_counted(
    asked: tuple[Writer, Database, ReadModel, Head], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, database, model, head = asked
    monkeypatch.setattr(model_module, "LOOK_IDLE_S", 0.01)
    Feed.open(writer.directory, database).run_to_end()
    head.sequence = writer.core.sequence
    await model.ask(lambda _: None)
    with database.transaction():
        database.change(f"DROP TABLE {PROGRESS.name}")
    await eventually(lambda: model.errors > 0)


async def test_questions_are_bounded(
    asked: tuple[Writer, Database, ReadModel, Head],
) -> None:
    writer, database, model, _ = asked
    Feed.open(writer.directory, database).run_to_end()
    go_on = threading.Event()
    asking = [asyncio.create_task(model.ask(lambda _: go_on.wait())) for _ in range(QUESTIONS_MAX)]
    await asyncio.sleep(0)
    assert model.questions == QUESTIONS_MAX
    with pytest.raises(ReadModelBusy):
        await model.ask(lambda _: None)
    go_on.set()
    await asyncio.gather(*asking)
    assert model.questions == 0


async def test_readers_cannot_write(
    asked: tuple[Writer, Database, ReadModel, Head],
) -> None:
    writer, database, model, _ = asked
    Feed.open(writer.directory, database).run_to_end()
    with pytest.raises(ReadModelUnavailable):
        await model.ask(lambda db: db.change("DELETE FROM orders"))
    assert (await model.ask(lambda db: db.query("SELECT COUNT(*) FROM orders"))).found[0][0]


@pytest.mark.parametrize("url", ["", "mysql://x/y", "sqlite:relative.sqlite3", "sqlite://host/p"])
def test_a_url_of_no_database_we_know(url: str) -> None:
    with pytest.raises(ReadModelUrlInvalid):
        connect(url)


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ReadModelUnavailable):
        connect(sqlite_url(tmp_path / "none.sqlite3"), read_only=True)
    with pytest.raises(ReadModelUnavailable):
        connect(f"postgresql://flopex@/flopex?host={tmp_path}")


def test_pages_of_an_account(tmp_path: Path, new_url: NewUrl) -> None:
    """Walking by cursors gives every row once, newest first, as the whole does."""
    writer = Writer(tmp_path / "journal")
    writer.append(order_commands(4, 400))
    database = connect(new_url())
    Feed.open(writer.directory, database).run_to_end()
    accounts = [row[0] for row in database.query("SELECT account_id FROM accounts")]
    for account_id in accounts:
        entries = queries.account_entries(database, account_id, 10**6)
        numbers = [entry.number for entry in entries]
        assert numbers == sorted(numbers, reverse=True)
        balance = sum(
            entry.amount_nanos * (1 if entry.credit_account_id == account_id else -1)
            for entry in entries
        )
        assert balance == writer.core.ledger.balance(account_id)
        walked: list[queries.EntryRow] = []
        before = queries.NEWEST
        while page := queries.account_entries(database, account_id, 7, before):
            walked += page
            before = page[-1].number
        assert walked == entries
        orders = queries.account_orders(database, account_id, 10**6)
        placed = "SELECT COUNT(*) FROM orders WHERE account_id = ?"
        assert len(orders) == database.query(placed, (account_id,))[0][0]
        newest = [order.order_id for order in queries.account_orders(database, account_id, 3)]
        assert newest == [order.order_id for order in orders[:3]]
    exported = queries.entries_from(database, 1, 10**6)
    assert [entry.number for entry in exported] == list(range(1, len(exported) + 1))
    database.close()
    writer.close()

"""What a start takes from the read model, and that it waits for no database that is silent."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from exchange.core.exchange import Exchange
from exchange.readmodel import model
from exchange.readmodel.database import Database, sqlite_url
from exchange.readmodel.errors import ReadModelUnavailable
from exchange.readmodel.model import Answer, ReadModel
from exchange.readmodel.queries import TradeRow
from exchange.rpc.history import History
from exchange.rpc.outputs import OutputHub
from exchange.server import recollection
from exchange.server.recollection import recollect

SILENT_S = 20.0
TRADE = TradeRow(1, 1, 1, 7, 10, 0, 0, 9)


def test_a_silent_database_does_not_hold_up_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()

    def connect(*_: object, **__: object) -> Database:
        answers.wait(SILENT_S)
        raise ReadModelUnavailable("no answer")

    async def start() -> bool:
        read_model = ReadModel(sqlite_url(tmp_path / "read-model.sqlite3"), lambda: 0)
        asking = asyncio.create_task(recollect(Exchange(), 2, read_model, History(), OutputHub()))
        done, _ = await asyncio.wait([asking], timeout=SILENT_S / 2)
        answers.set()
        await asking
        await read_model.close()
        return bool(done)

    monkeypatch.setattr(model, "connect", connect)
    monkeypatch.setattr(recollection, "RECOLLECT_WITHIN_S", 0.01)
    assert asyncio.run(start())


def test_jobs_that_are_still_to_come_have_no_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read model may have been fed from a journal that went on further than the restored one."""
    core, outputs = Exchange(), OutputHub()
    core.counters.job = 2

    async def ask(*_: object, **__: object) -> Answer[recollection._Found]:
        return Answer(10, recollection._Found({}, {1: 11, 2: 22, 3: 33}))

    async def fill() -> None:
        read_model = ReadModel(sqlite_url(tmp_path / "read-model.sqlite3"), lambda: 0)
        monkeypatch.setattr(read_model, "ask", ask)
        await recollect(core, 2, read_model, History(), outputs)
        await read_model.close()

    asyncio.run(fill())
    assert [outputs.tokens(job_id) for job_id in (1, 2, 3)] == [11, 22, 0]


@pytest.mark.parametrize(("sequence", "prices"), [(8, []), (9, [7])])
def test_trades_are_taken_from_a_read_model_that_reaches_what_was_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sequence: int, prices: list[int]
) -> None:
    """From one that ends before it a gap would be left, so memory begins with the replay."""
    history, replayed_from = History(), 10

    async def ask(*_: object, **__: object) -> Answer[recollection._Found]:
        return Answer(sequence, recollection._Found({0: [TRADE]}, {}))

    async def fill() -> None:
        read_model = ReadModel(sqlite_url(tmp_path / "read-model.sqlite3"), lambda: 0)
        monkeypatch.setattr(read_model, "ask", ask)
        await recollect(Exchange(), replayed_from, read_model, history, OutputHub())
        await read_model.close()

    asyncio.run(fill())
    assert [t.price_nanos for t in history.trades(0, 10)] == prices

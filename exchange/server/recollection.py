"""What an exchange remembers beside its state: recent trades, and the tokens of ended jobs.

A start from a snapshot sees only the commands after it. What lies before comes from the read model,
where it is there and no gap would remain; otherwise memory begins at the snapshot.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from exchange.core.exchange import Exchange
from exchange.journal import FIRST_SEQUENCE
from exchange.readmodel import queries
from exchange.readmodel.errors import ReadModelError
from exchange.readmodel.model import ReadModel
from exchange.rpc.history import RECENT_TRADES_MAX, History, TradeRecord
from exchange.rpc.outputs import TOKEN_COUNTS_MAX, OutputHub

if TYPE_CHECKING:
    from exchange.readmodel.database import Database

RECOLLECT_WITHIN_S: Final = 10.0
"""What the start waits for the read model: a database that does not answer must not hold it up."""
ALL: Final = 0
"""In place of an instrument's id."""

_log = structlog.get_logger(__name__)


class _Found(NamedTuple):
    trades: dict[int, list[queries.TradeRow]]
    token_counts: dict[int, int]


async def recollect(
    core: Exchange, replayed_from: int, read_model: ReadModel, history: History, outputs: OutputHub
) -> None:
    """Fill what was not replayed.

    Args:
        core: The state.
        replayed_from: The first sequence that `history` and `outputs` have seen.
        read_model: Where what came before is.
        history: Recent trades.
        outputs: Token counts.
    """
    if replayed_from == FIRST_SEQUENCE:
        return
    instruments, first_job_id = (ALL, *core.instruments), min(core.jobs, default=1)

    def question(database: Database) -> _Found:
        trades = {i: queries.trades(database, i, RECENT_TRADES_MAX) for i in instruments}
        return _Found(trades, queries.output_tokens(database, first_job_id, TOKEN_COUNTS_MAX))

    try:
        async with asyncio.timeout(RECOLLECT_WITHIN_S):
            sequence, found = await read_model.ask(question, wait=False)
    except TimeoutError:
        _log.info("recent trades begin at the snapshot", reason="the read model does not answer")
        return
    except ReadModelError as error:
        _log.info("recent trades begin at the snapshot", reason=str(error))
        return
    if sequence < replayed_from - 1:
        _log.info("recent trades begin at the snapshot", reason="the read model is behind it")
        return
    for instrument_id, rows in found.trades.items():
        earlier = [_record(row) for row in reversed(rows) if row.sequence < replayed_from]
        history.fill(instrument_id, earlier)
    # A read model of a journal that went on further than this one may know jobs still to come.
    last = core.counters.job
    outputs.fill({job_id: count for job_id, count in found.token_counts.items() if job_id <= last})


def _record(row: queries.TradeRow) -> TradeRecord:
    return TradeRecord(
        row.instrument_id,
        row.trade_id,
        row.price_nanos,
        row.quantity_mflop,
        row.event_time_ns,
        row.taker_side,
        row.sequence,
    )

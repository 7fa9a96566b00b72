"""The public overview: what everyone may see of the exchange at one moment.

No accounts, no balances, no prompts. Integers above 2^53 are strings, as JavaScript would round
them. The fields are described in `docs/reference/http.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from exchange.core.commands import ClearingMode, Settlement, TradingState
from exchange.core.events import WorkerState
from exchange.core.workers import PRESENT
from exchange.http.sources import Sources, Trade

if TYPE_CHECKING:
    from exchange.core.exchange import Depth, Exchange
    from exchange.core.instruments import Instrument
    from exchange.core.workers import Worker

LADDER_LEVELS: Final = 10
"""Levels of each side of a ladder."""
INSTRUMENTS_MAX: Final = 50
"""Instruments of one overview: the oldest that are not closed."""
TRADES_MAX: Final = 50
"""Trades of one overview: the newest over all instruments."""
WORKERS_MAX: Final = 100
"""Workers of one overview: those that are present go before those that are lost."""
EXACT_MAX: Final = 1 << 53
"""Largest integer that every JSON reader keeps exact."""

Number = int | str
Level = tuple[Number, Number, int]

_HARDWARE: Final = {"gpu": "{}", "processor": "{}", "cores": "{} cores", "memory_gib": "{} GiB"}
"""Facts that are shown, and how; the system's version is nobody's business."""
_TAKERS: Final = {0: "none", 1: "bid", 2: "ask"}


class InstrumentView(msgspec.Struct, frozen=True):
    """An instrument and its ladder; levels are [price, quantity, orders], best first."""

    instrument_id: int
    name: str
    state: str
    mode: str
    settlement: str
    tick_nanos: int
    lot_mflop: Number
    last_price_nanos: int
    bids: list[Level]
    asks: list[Level]


class TradeView(msgspec.Struct, frozen=True):
    """A trade; `taker_side` is none in a batch."""

    trade_id: Number
    instrument_id: int
    price_nanos: int
    quantity_mflop: Number
    event_time_ns: Number
    taker_side: str
    sequence: Number


class WorkerView(msgspec.Struct, frozen=True):
    """A worker; `slots` and `slots_in_use` have one entry for each pool."""

    worker_id: int
    name: str
    state: str
    connected: bool
    hardware: str
    models: list[str]
    slots: list[int]
    slots_in_use: list[int]
    leases_settled: int
    leases_failed: int
    flops_settled: Number
    earned_nanos: Number


class JobCounts(msgspec.Struct, frozen=True):
    """Jobs by where they are; `settled` and `unsettled` count from the journal's beginning."""

    queued: int
    leased: int
    settled: int
    unsettled: int


class WorkerCounts(msgspec.Struct, frozen=True):
    """Workers that are present, all that were ever, and the slots of those present."""

    present: int
    known: int
    slots: int
    slots_in_use: int


class Overview(msgspec.Struct, frozen=True, tag_field="type", tag="overview"):
    """All of it."""

    sequence: Number
    epoch: int
    event_time_ns: Number
    uptime_s: int
    state: str
    instruments_total: int
    instruments: list[InstrumentView]
    trades: list[TradeView]
    jobs: JobCounts
    leases_open: int
    orders_open: int
    workers_total: WorkerCounts
    workers: list[WorkerView]
    flops_settled: Number
    ledger_sum_nanos: Number
    journal_records: Number


def number(value: int) -> Number:
    """An integer as JSON carries it: a string where readers would round it.

    >>> number(2**53), number(2**53 + 1), number(-(2**60))
    (9007199254740992, '9007199254740993', '-1152921504606846976')
    """
    return value if -EXACT_MAX <= value <= EXACT_MAX else str(value)


def overview(sources: Sources, uptime_s: int) -> Overview:
    """The exchange now. O(accounts + workers + shown levels).

    Args:
        sources: Where to read.
        uptime_s: Seconds since the start.
    """
    core = sources.engine.core
    traded = [i for i in core.instruments.values() if i.state != TradingState.CLOSED]
    leases_open = sum(len(worker.lease_ids) for worker in core.workers.values())
    ended = core.jobs_settled + core.jobs_unsettled
    return Overview(
        sequence=number(core.sequence),
        epoch=core.epoch,
        event_time_ns=number(core.now_ns),
        uptime_s=uptime_s,
        state="draining" if sources.draining() else "open",
        instruments_total=len(traded),
        instruments=[_instrument(core, i) for i in traded[:INSTRUMENTS_MAX]],
        trades=[_trade(trade) for trade in sources.recent_trades(0, TRADES_MAX)],
        jobs=JobCounts(
            # Every job that ever was is queued, leased or ended; a leased one has one open lease.
            queued=core.counters.job - ended - leases_open,
            leased=leases_open,
            settled=core.jobs_settled,
            unsettled=core.jobs_unsettled,
        ),
        leases_open=leases_open,
        orders_open=len(core.orders),
        workers_total=worker_counts(core),
        workers=_workers(sources),
        flops_settled=number(sum(worker.earned_flops for worker in core.workers.values())),
        ledger_sum_nanos=number(core.imbalance_nanos()),
        journal_records=number(core.sequence),
    )


def worker_counts(core: Exchange) -> WorkerCounts:
    """Workers and slots in all. O(workers)."""
    present = [worker for worker in core.workers.values() if worker.state in PRESENT]
    return WorkerCounts(
        present=len(present),
        known=len(core.workers),
        slots=sum(sum(worker.slots) for worker in present),
        slots_in_use=sum(sum(worker.in_use) for worker in present),
    )


def _instrument(core: Exchange, instrument: Instrument) -> InstrumentView:
    bids, asks = core.depth(instrument.instrument_id, LADDER_LEVELS)
    terms = instrument.terms
    return InstrumentView(
        instrument_id=instrument.instrument_id,
        name=instrument.name,
        state=TradingState(instrument.state).name.lower(),
        mode=ClearingMode(terms.mode).name.lower(),
        settlement=Settlement(terms.settlement).name.lower(),
        tick_nanos=terms.tick_nanos,
        lot_mflop=number(terms.lot_mflop),
        last_price_nanos=instrument.last_price_nanos,
        bids=_levels(bids),
        asks=_levels(asks),
    )


def _levels(depth: Depth) -> list[Level]:
    return [(number(price), number(quantity), orders) for price, quantity, orders in depth]


def _trade(trade: Trade) -> TradeView:
    return TradeView(
        trade_id=number(trade.trade_id),
        instrument_id=trade.instrument_id,
        price_nanos=trade.price_nanos,
        quantity_mflop=number(trade.quantity_mflop),
        event_time_ns=number(trade.event_time_ns),
        taker_side=_TAKERS[trade.taker_side],
        sequence=number(trade.sequence),
    )


def _workers(sources: Sources) -> list[WorkerView]:
    core = sources.engine.core
    workers = core.workers.values()
    present = islice((w for w in workers if w.state in PRESENT), WORKERS_MAX)
    lost = islice((w for w in workers if w.state == WorkerState.LOST), WORKERS_MAX)
    shown: Sequence[Worker] = [*present, *lost][:WORKERS_MAX]
    return [
        WorkerView(
            worker_id=worker.worker_id,
            name=worker.name,
            state=worker.state.name.lower(),
            connected=sources.is_connected(worker.worker_id),
            hardware=hardware(worker.facts),
            models=_models(core, worker),
            slots=worker.slots,
            slots_in_use=worker.in_use,
            leases_settled=worker.leases_settled,
            leases_failed=worker.leases_failed,
            flops_settled=number(worker.earned_flops),
            earned_nanos=number(worker.earned_nanos),
        )
        for worker in shown
    ]


@lru_cache(maxsize=WORKERS_MAX)
def hardware(facts: bytes) -> str:
    """A worker's hardware in a line, of the facts that it stated; empty where it stated none.

    >>> hardware(b'{"cores":"2","memory_gib":"8","processor":"Xeon","system":"Linux 6.1"}')
    'Xeon · 2 cores · 8 GiB'
    """
    try:
        stated = msgspec.json.decode(facts or b"{}", type=dict[str, str])
    except msgspec.DecodeError:  # ValidationError is one, too
        return ""
    return " · ".join(
        text.format(stated[name]) for name, text in _HARDWARE.items() if name in stated
    )


def _models(core: Exchange, worker: Worker) -> list[str]:
    """Names of the models that it sells now, in the order of their instruments."""
    names = (core.instruments[i].name.partition("/")[0] for i, _ in sorted(worker.quotes))
    return list(dict.fromkeys(names))

"""Why something does not happen: a sentence, what would change it, and the figures beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flopex.render.format import PRICE_UNIT, date_time, grouped, money, price, words
from flopex.render.tables import plain_table

if TYPE_CHECKING:
    from exchange.client import JobExplanation, OrderExplanation, WorkerExplanation


def order_explained(found: OrderExplanation) -> Group:
    """Whether an order would fill, and against what."""
    levels = plain_table(PRICE_UNIT, "quantity", "orders", right=(PRICE_UNIT, "quantity", "orders"))
    for level in found.levels:
        levels.add_row(price(level.price_nanos), grouped(level.quantity), str(level.orders))
    return _told("yes" if found.fillable else "no", found.explanation, found.remedies, (levels,))


def job_explained(found: JobExplanation) -> Group:
    """Why a job stands where it stands: where it may run, where it ran, what else there was."""
    state = words(found.job.state.name)
    tables = (_options(found), _attempts(found), _alternatives(found))
    return _told(state, found.explanation, found.remedies, tables, found.unknown)


def worker_explained(found: WorkerExplanation) -> Group:
    """Why a worker is passed over: its quotes beside the market."""
    right = ("asks", "best ask", "best bid", "free", "cheaper", "waiting", "leases", "own", "less")
    table = plain_table("instrument", *right, "why", right=right)
    for quote in found.quotes:
        table.add_row(
            quote.instrument,
            *map(_price, (quote.ask_nanos, quote.best_ask_nanos, quote.best_bid_nanos)),
            *map(str, (quote.slots_free, quote.cheaper_slots, quote.jobs_waiting)),
            *map(str, (quote.leases, quote.leases_own, quote.leases_cheaper)),
            words(quote.reason),
        )
    state = words(found.worker.state.name)
    return _told(state, found.explanation, found.remedies, (table,), found.unknown)


def _options(found: JobExplanation) -> Table:
    right = ("bids", "at most", "ask", "free", "slots", "ahead")
    table = plain_table("may run in", *right, "pays from", "why not", right=right)
    for option in found.options:
        table.add_row(
            option.instrument,
            *map(_price, (option.bid_nanos, option.bid_max_nanos, option.ask_nanos)),
            *map(str, (option.slots_free, option.slots, option.ahead)),
            date_time(option.pays_from_time_ns),
            words(option.reason),
        )
    return table


def _attempts(found: JobExplanation) -> Table:
    right = ("price", "its bid", "the ask", "billed")
    table = plain_table("ran in", "worker", *right, "granted", "failed for", right=right)
    for attempt in found.attempts:
        table.add_row(
            attempt.instrument,
            attempt.worker,
            *map(_price, (attempt.price_nanos, attempt.bid_nanos, attempt.ask_nanos)),
            money(attempt.billed_nanos),
            date_time(attempt.offer_time_ns),
            words(attempt.reason),
        )
    return table


def _alternatives(found: JobExplanation) -> Table:
    right = ("last price", "would have cost", "ask now")
    table = plain_table("alternative", *right, "traded", "", right=right)
    for other in found.alternatives:
        table.add_row(
            other.instrument,
            _price(other.price_nanos),
            money(other.cost_nanos) if other.price_nanos else "-",
            _price(other.ask_nanos),
            date_time(other.price_time_ns),
            "it ran here" if other.chosen else "",
        )
    return table


def _price(nanos: int) -> str:
    return price(nanos) if nanos else "-"


def _told(
    head: str,
    explanation: str,
    remedies: Sequence[str],
    tables: Iterable[Table],
    unknown: Sequence[str] = (),
) -> Group:
    parts: list[RenderableType] = [Text.assemble((head, "bold"), f": {explanation}")]
    parts += [Text(f"  - {remedy}") for remedy in remedies]
    parts += [table for table in tables if table.row_count]
    parts += [Text(f"not known: {what}", style="dim") for what in unknown]
    return Group(*parts)

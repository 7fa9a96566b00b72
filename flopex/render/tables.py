"""Tables of what the exchange answers: what people ask for. JSON carries every field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from flopex.render.format import PRICE_UNIT, clock_time, compute, grouped, money, price, words

if TYPE_CHECKING:
    from exchange.client import Account, Instrument, Job, LedgerEntry, Order, Worker
    from flopex.receipts import Finding

_STATE_STYLES = {
    "queued": "yellow",
    "leased": "cyan",
    "running": "bold cyan",
    "settled": "green",
    "ready": "green",
    "open": "green",
    "paused": "yellow",
    "draining": "yellow",
    "halted": "yellow",
    "lost": "bold red",
    "failed": "bold red",
    "expired": "red",
    "cancelled": "red",
}


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _state(name: str) -> Text:
    text = words(name)
    return Text(text, style=_STATE_STYLES.get(text, ""))


def job_ending(job: Job) -> str:
    """How a job ended, or why it waits, in a few words."""
    if job.waiting_for:
        return f"waits: {words(job.waiting_for)}"
    if job.reason:
        return words(job.reason)
    return words(job.stop_cause.name) if job.stop_cause else ""


def jobs_table(jobs: Iterable[Job]) -> Table:
    """Jobs, one on a line."""
    table = _table(
        *("job", "state", "model", "tier", "worker", "tokens", "compute", PRICE_UNIT, "paid"),
        *("submitted", "how it ended"),
        right=("job", "tokens", "compute", PRICE_UNIT, "paid"),
    )
    for job in jobs:
        table.add_row(
            str(job.job_id),
            _state(job.state.name),
            job.model,
            job.tier,
            job.worker,
            str(job.output_tokens or ""),
            compute(job.flops // 10**6) if job.flops else "",
            price(job.price_nanos) if job.price_nanos else "",
            money(job.paid_nanos) if not job.is_open else f"holds {money(job.escrow_nanos)}",
            clock_time(job.create_time_ns),
            job_ending(job),
        )
    return table


def account_table(accounts: Iterable[Account]) -> Table:
    """Accounts and their money."""
    table = _table(
        *("account", "kind", "balance", "held", "available", "open jobs", "open orders", ""),
        right=("balance", "held", "available", "open jobs", "open orders"),
    )
    for account in accounts:
        table.add_row(
            account.name,
            "paper" if account.paper else "real",
            money(account.balance_nanos),
            money(account.pending_nanos),
            money(account.available_nanos),
            grouped(account.open_jobs),
            grouped(account.open_orders),
            Text("halted", style="bold red") if account.halted else "",
        )
    return table


def positions_table(account: Account, names: Mapping[int, str]) -> Table:
    """Paper positions."""
    table = _table("position", "quantity", right=("quantity",))
    for position in account.positions:
        name = names.get(position.instrument_id, str(position.instrument_id))
        table.add_row(name, f"{grouped(position.quantity_mflop)} MFLOP")
    return table


def ledger_table(entries: Iterable[LedgerEntry], own_id: int) -> Table:
    """Ledger entries as one account sees them: what came in and what went out."""
    table = _table("time", "what", "lease or trade", "amount", right=("lease or trade", "amount"))
    for entry in entries:
        sign = -1 if entry.debit_account_id == own_id else 1
        table.add_row(
            clock_time(entry.event_time_ns),
            words(entry.kind.name),
            str(entry.reference_id or ""),
            Text(money(sign * entry.amount_nanos), style="" if sign > 0 else "red"),
        )
    return table


def instruments_table(instruments: Iterable[Instrument]) -> Table:
    """Instruments and their terms."""
    table = _table(
        *("instrument", "state", "settles in", "clearing", f"tick {PRICE_UNIT}", "price band"),
        *("decode", "context", "starts within"),
        right=(f"tick {PRICE_UNIT}", "price band", "decode", "context", "starts within"),
    )
    for one in instruments:
        leased = one.decode_millitokens_per_s > 0
        table.add_row(
            one.name,
            _state(one.state.name),
            words(one.settlement.name),
            words(one.clearing_mode.name),
            price(one.tick_nanos),
            f"{price(one.price_min_nanos)} - {price(one.price_max_nanos)}",
            f"{one.decode_millitokens_per_s / 1_000:g} tok/s" if leased else "",
            grouped(one.context_tokens_max) if leased else "",
            f"{one.latest_start_ns / 10**9:g} s" if leased else "",
        )
    return table


def orders_table(orders: Iterable[Order], names: Mapping[int, str]) -> Table:
    """Open orders."""
    table = _table(
        *("order", "instrument", "side", "state", PRICE_UNIT, "MFLOP", "still open", "works"),
        right=("order", PRICE_UNIT, "MFLOP", "still open"),
    )
    for order in orders:
        table.add_row(
            str(order.order_id),
            names.get(order.instrument_id, str(order.instrument_id)),
            words(order.side.name),
            words(order.state.name),
            price(order.price_nanos),
            grouped(order.quantity_mflop),
            grouped(order.leaves_mflop),
            order.time_in_force.name,
        )
    return table


def workers_table(workers: Iterable[Worker]) -> Table:
    """Workers, their slots, quotes and earnings."""
    table = _table(
        *("worker", "id", "state", "slots in use", "asks", "settled", "failed", "earned"),
        right=("id", "slots in use", "settled", "failed", "earned"),
    )
    for worker in workers:
        connected = worker.connected or worker.state.name in ("LOST", "LEFT")
        state = _state(worker.state.name)
        if not connected:
            state.append(" (away)", style="yellow")
        asks = [
            f"{quote.instrument} {', '.join(price(p) for p in quote.prices_nanos)}"
            for quote in worker.quotes
        ]
        table.add_row(
            worker.name,
            str(worker.worker_id),
            state,
            f"{sum(worker.slots_in_use)} of {sum(worker.slots)}",
            "\n".join(asks),
            grouped(worker.leases_settled),
            grouped(worker.leases_failed),
            money(worker.earned_nanos),
        )
    return table


def findings_table(findings: Iterable[Finding]) -> Table:
    """What was checked of a receipt, in words beside the colours."""
    table = _table("check", "", "detail")
    marks = {True: ("correct", "green"), False: ("WRONG", "bold red"), None: ("not checked", "dim")}
    for finding in findings:
        word, style = marks[finding.good]
        table.add_row(finding.check, Text(word, style=style), Text(finding.detail))
    return table

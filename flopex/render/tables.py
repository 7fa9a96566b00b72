"""Tables of what the exchange answers: what people ask for. JSON carries every field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from flopex.render.format import (
    PRICE_UNIT,
    compute,
    date_time,
    grouped,
    money,
    price,
    recent_time,
    words,
)

if TYPE_CHECKING:
    from exchange.client import Account, Instrument, Job, JobLegState, LedgerEntry, Order, Worker
    from flopex.receipts import Finding

PADDING: Final = (0, 1, 0, 0)
"""Two spaces between columns: one is the border's."""
WIDE: Final = 10_000
"""More columns than any table needs: what a cell's own width is measured in."""
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


class PlainTable(Table):
    """A table whose cells stay whole: where it is too wide, each row becomes a block of lines.

    Rich would cut the cells, and half a number is a wrong number.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, or its rows one below the other, each cell behind its column's name."""
        if self._fits(console, options):
            yield from super().__rich_console__(console, options)
            return
        for row in range(self.row_count):
            block = Table.grid(padding=(0, 3))
            block.add_column(no_wrap=True)
            block.add_column(overflow="fold")
            for column in self.columns:
                cell = list(column.cells)[row]
                if str(cell):
                    block.add_row(Text(str(column.header), style="dim"), cell)
            yield Text()
            yield block
        yield Text()

    def _fits(self, console: Console, options: ConsoleOptions) -> bool:
        """Whether all columns have room that may not give way."""
        wide = options.update_width(WIDE)
        need = 2 * len(self.columns)  # what stands between the columns and at the edges
        for column in self.columns:
            # A column that gives way needs room for its name.
            cells = (column.header, *(column.cells if column.no_wrap else ()))
            need += max(Measurement.get(console, wide, cell).maximum for cell in cells)
        return need <= options.max_width


def plain_table(*columns: str, right: Sequence[str] = (), stretch: Sequence[str] = ()) -> Table:
    """A table whose cells stay whole and on one line.

    Where there is no room the columns in `stretch` give way: `cut` their cells, or they wrap. Where
    that is not enough, the rows come one below the other.
    """
    table = PlainTable(box=box.SIMPLE_HEAD, padding=PADDING, pad_edge=False)
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in right else "left",
            # Rich takes room from columns that may wrap before it takes it from others.
            no_wrap=column not in stretch,
            overflow="fold",
        )
    return table


def cut(text: str) -> Text:
    """A cell that stays on one line and ends with an ellipsis where there is no room for it."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def _state(name: str) -> Text:
    text = words(name)
    return Text(text, style=_STATE_STYLES.get(text, ""))


def job_ending(job: Job) -> str:
    """How a job ended, or why it waits, in a few words."""
    if job.waiting_for not in ("", "none"):
        return f"waits: {words(job.waiting_for)}"
    if job.reason:
        return words(job.reason)
    return words(job.stop_cause.name) if job.stop_cause else ""


def jobs_table(jobs: Iterable[Job]) -> Table:
    """Jobs, one on a line, in 80 columns; what has no room here is told of one job alone."""
    table = plain_table(
        *("job", "state", "worker", "tokens", "paid", "submitted", "ending"),
        right=("job", "tokens", "paid"),
        stretch=("ending",),
    )
    for job in jobs:
        table.add_row(
            str(job.job_id),
            _state(job.state.name),
            job.worker,
            str(job.output_tokens or ""),
            money(job.paid_nanos) if not job.is_open else f"holds {money(job.escrow_nanos)}",
            recent_time(job.create_time_ns),
            cut(job_ending(job)),
        )
    return table


def job_details(job: Job) -> Table:
    """All of one job."""
    table = Table.grid(padding=(0, 3))
    rows = [
        ("job", str(job.job_id)),
        ("state", words(job.state.name)),
        ("ending", job_ending(job)),
        ("model, tier", f"{job.model}, {job.tier}" if job.model else ""),
        ("worth", _worth(job)),
        ("budget", compute(job.quantity_mflop) if job.quantity_mflop else ""),
        *((f"leg {number}", _leg(leg)) for number, leg in enumerate(job.legs, 1)),
        ("attempt", str(job.attempt)),
        ("worker", job.worker),
        ("price", f"{price(job.price_nanos)} {PRICE_UNIT}" if job.price_nanos else ""),
        ("FLOPs", grouped(job.flops) if job.flops else ""),
        ("tokens", str(job.output_tokens)),
        ("held", money(job.escrow_nanos) if job.is_open else ""),
        ("paid", money(job.paid_nanos)),
        ("submitted", date_time(job.create_time_ns)),
        ("ended", date_time(job.end_time_ns)),
    ]
    for name, value in rows:
        if value:
            table.add_row(Text(name, style="dim"), Text(value))
    return table


def _worth(job: Job) -> str:
    if job.value_nanos:
        return money(job.value_nanos)
    return f"limit {price(job.limit_nanos)} {PRICE_UNIT}" if job.limit_nanos else ""


def _leg(leg: JobLegState) -> str:
    """One way to run a job: what it bids, and what it waits for or why it is out."""
    bids = f"up to {price(leg.limit_nanos)} {PRICE_UNIT}" if leg.limit_nanos else "by the value"
    fate = f"; out: {words(leg.reason)}" if leg.reason else ""
    if leg.waiting_for and not fate:
        fate = f"; {leg.waiting_for}"
    return f"{leg.instrument}, {compute(leg.quantity_mflop)}, {bids}{fate}"


def limits_table(account: Account) -> Table:
    """What an account may have open, and may send."""
    caps, sends = account.limits, account.limits.messages
    table = plain_table("limit", "most", right=("most",))
    table.add_row("open jobs", grouped(caps.open_jobs_max))
    table.add_row("open orders", grouped(caps.open_orders_max))
    if sends.messages_per_s:
        table.add_row("messages per second", grouped(sends.messages_per_s))
        table.add_row("messages at once", grouped(sends.message_burst))
    if sends.order_to_trade_window_ns:
        window = f"in {sends.order_to_trade_window_ns / 1e9:g} s"
        table.add_row(f"order messages {window}", grouped(sends.order_to_trade_free))
        table.add_row("and for each trade", grouped(sends.order_to_trade_ratio))
    return table


def account_table(accounts: Iterable[Account]) -> Table:
    """Accounts and their money."""
    table = plain_table(
        *("account", "kind", "balance", "held", "available", "jobs", "orders", ""),
        right=("balance", "held", "available", "jobs", "orders"),
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
    table = plain_table("position", "quantity", right=("quantity",))
    for position in account.positions:
        name = names.get(position.instrument_id, str(position.instrument_id))
        table.add_row(name, f"{grouped(position.quantity_mflop)} MFLOP")
    return table


def ledger_table(entries: Iterable[LedgerEntry], own_id: int) -> Table:
    """Ledger entries as one account sees them: what came in and what went out."""
    table = plain_table(
        "time", "what", "lease or trade", "amount", right=("lease or trade", "amount")
    )
    for entry in entries:
        sign = -1 if entry.debit_account_id == own_id else 1
        table.add_row(
            date_time(entry.event_time_ns),
            words(entry.kind.name),
            str(entry.reference_id or ""),
            Text(money(sign * entry.amount_nanos), style="" if sign > 0 else "red"),
        )
    return table


def instruments_table(instruments: Iterable[Instrument]) -> Table:
    """Instruments and their terms; prices in nano-dollars per CU."""
    table = plain_table(
        *("instrument", "state", "book", "tick", "price band", "tokens/s", "context"),
        right=("tick", "price band", "tokens/s", "context"),
    )
    for one in instruments:
        leased = one.decode_millitokens_per_s > 0
        kind = words(one.settlement.name)
        table.add_row(
            one.name,
            _state(one.state.name),
            kind if leased else f"{kind}, {words(one.clearing_mode.name)}",
            price(one.tick_nanos),
            f"{price(one.price_min_nanos)}-{price(one.price_max_nanos)}",
            f"{one.decode_millitokens_per_s / 1_000:g}" if leased else "",
            grouped(one.context_tokens_max) if leased else "",
        )
    return table


def orders_table(orders: Iterable[Order], names: Mapping[int, str]) -> Table:
    """Open orders."""
    table = plain_table(
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
            _works(order),
        )
    return table


def _works(order: Order) -> str:
    """How long an order works, and what else it asks for."""
    asked = order.conditions
    shown = [order.time_in_force.name]
    if asked.stop_price_nanos and order.waiting:
        shown.append(f"stop {price(asked.stop_price_nanos)}")
    if asked.post_only:
        shown.append("post-only")
    if asked.all_or_none:
        shown.append("all or none")
    if asked.min_quantity_mflop:
        shown.append(f"at least {grouped(asked.min_quantity_mflop)}")
    if asked.display_quantity_mflop:
        shown.append(f"shows {grouped(asked.display_quantity_mflop)}")
    if asked.hidden:
        shown.append("hidden")
    if order.legs:
        shown.append(f"{len(order.legs)} legs")
    if order.cancel_on_disconnect:
        shown.append("ends with its stream")
    return ", ".join(shown)


def workers_table(workers: Iterable[Worker]) -> Table:
    """Workers, their slots, asks and earnings."""
    table = plain_table(
        *("worker", "id", "state", "slots", PRICE_UNIT, "quotes", "settled", "failed", "earned"),
        right=("id", "slots", PRICE_UNIT, "quotes", "settled", "failed", "earned"),
    )
    for worker in workers:
        state = _state(worker.state.name)
        if not worker.connected and worker.state.name not in ("LOST", "LEFT"):
            state.append(" (away)", style="yellow")
        asks = [quote.prices_nanos[0] for quote in worker.quotes if quote.prices_nanos]
        table.add_row(
            worker.name,
            str(worker.worker_id),
            state,
            f"{sum(worker.slots_in_use)}/{sum(worker.slots)}",
            price(min(asks)) if asks else "",
            str(len(worker.quotes)),
            grouped(worker.leases_settled),
            grouped(worker.leases_failed),
            money(worker.earned_nanos),
        )
    return table


def worker_details(worker: Worker) -> Table:
    """One worker's quotes and hardware facts."""
    table = Table.grid(padding=(0, 3))
    for quote in worker.quotes:
        asks = ", ".join(price(ask) for ask in quote.prices_nanos)
        table.add_row(Text(quote.instrument, style="dim"), f"{asks} {PRICE_UNIT}")
    for name, value in worker.facts.items():
        table.add_row(Text(name, style="dim"), Text(value))
    return table


def findings_table(findings: Iterable[Finding]) -> Table:
    """What was checked of a receipt, in words beside the colours."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for column in ("check", "", "detail"):
        table.add_column(column)
    marks = {True: ("correct", "green"), False: ("WRONG", "bold red"), None: ("not checked", "dim")}
    for finding in findings:
        word, style = marks[finding.good]
        table.add_row(finding.check, Text(word, style=style), Text(finding.detail))
    return table

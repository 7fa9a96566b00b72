"""Drawing the stage: one frame for a live terminal, or lines where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flopex.demo.stage import JobRow, Kind, Stage, TapeLine
from flopex.render.format import PRICE_UNIT, grouped, money, one_line, price
from flopex.render.ladder import ladder

FRAMES_PER_S: Final = 8
LADDER_LEVELS: Final = 3
_LADDER_ROWS: Final = 12
_FIXED_ROWS: Final = 4
_LADDER_TEXT_CELLS: Final = 47
_TAPE_ROWS_MIN: Final = 3

_STYLES: Final = {
    Kind.SETUP: "dim",
    Kind.BID: "green",
    Kind.FILL: "cyan",
    Kind.RECEIPT: "magenta",
    Kind.TROUBLE: "bold red",
}
_STATE_STYLES: Final = {
    "to come": "dim",
    "queued": "yellow",
    "leased": "cyan",
    "running": "bold cyan",
    "settled": "green",
    "failed": "bold red",
    "expired": "bold red",
    "cancelled": "red",
}


def tape_text(line: TapeLine) -> Text:
    """A line of the tape."""
    text = Text(f"{line.at_s:6.1f} s  ", style="dim")
    text.append(f"{line.kind:8}", style=_STYLES[line.kind])
    text.append(line.text, style="" if line.kind is not Kind.TROUBLE else "bold red")
    return text


class Frame:
    """The whole picture, fitted to the terminal each time that it is drawn."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, options.height or console.height
        stage = self._stage
        yield self._head(width)
        used = _FIXED_ROWS
        if stage.ladders:
            yield self._ladders(width)
            used += _LADDER_ROWS
        if stage.workers and height >= used + len(stage.workers) + len(stage.jobs) + 9:
            yield self._workers()
            used += len(stage.workers) + 3
        jobs = _rows_to_show(stage.jobs, height - used - 3 - _TAPE_ROWS_MIN)
        if jobs:
            yield self._jobs(jobs, width)
            used += len(jobs) + 3
        rows = max(height - used, _TAPE_ROWS_MIN)
        for line in list(stage.tape)[-rows:]:
            text = tape_text(line)
            text.truncate(width, overflow="ellipsis")
            yield text

    def _head(self, width: int) -> Text:
        stage = self._stage
        head = Text("FLOPEX", style="bold reverse")
        head.append(f"  {stage.step}", style="bold")
        tail = f"{stage.address}  {stage.elapsed_s():5.1f} s"
        return head + Text(" " * max(1, width - head.cell_len - len(tail)) + tail, style="dim")

    def _ladders(self, width: int) -> Table:
        ladders = self._stage.ladders
        share = width // max(1, len(ladders))
        cells = min(16, max(2, (share - _LADDER_TEXT_CELLS) // 2))
        grid = Table.grid(padding=(0, 2))
        fitting = ladders if share >= _LADDER_TEXT_CELLS + 4 else ladders[:1]
        grid.add_row(*(ladder(view, LADDER_LEVELS, cells) for view in fitting))
        return grid

    def _workers(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        for name in ("worker", "state"):
            table.add_column(name, no_wrap=True)
        for name in ("slots in use", f"ask {PRICE_UNIT}", "leases settled", "earned"):
            table.add_column(name, justify="right", no_wrap=True)
        for worker in self._stage.workers:
            table.add_row(
                worker.name,
                worker.state,
                f"{worker.in_use} of {worker.slots}",
                price(worker.price_nanos),
                str(worker.leases_settled),
                money(worker.earned_nanos),
            )
        return table

    def _jobs(self, jobs: list[JobRow], width: int) -> Table:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, width=width)
        table.add_column("buyer", no_wrap=True)
        table.add_column("tier", no_wrap=True)
        table.add_column("state", no_wrap=True)
        table.add_column("worker", no_wrap=True)
        table.add_column("tokens", justify="right", no_wrap=True)
        table.add_column("paid", justify="right", no_wrap=True)
        table.add_column("prompt, then the answer as it comes", ratio=1, no_wrap=True)
        for job in jobs:
            style = _STATE_STYLES.get(job.state, "")
            table.add_row(
                job.buyer,
                job.part.tier,
                Text(_state(job), style=style),
                job.worker,
                str(job.tokens or ""),
                money(job.paid_nanos) if job.over else "",
                _answer(job),
            )
        return table


def _state(job: JobRow) -> str:
    if job.state == "settled":
        return "settled" if job.cause != "budget" else "budget end"
    return job.state


def _answer(job: JobRow) -> Text:
    if not job.text:
        return Text(job.part.prompt, style="dim", overflow="ellipsis")
    # While tokens come in, their end is what moves.
    flat = " ".join(job.text.split())
    if job.running and len(flat) > 60:
        flat = "…" + flat[-60:]
    return Text(flat, style="bold" if job.running else "", overflow="ellipsis")


def _rows_to_show(jobs: list[JobRow], rows: int) -> list[JobRow]:
    """All jobs if they fit; else first those that are under way, then the latest that ended."""
    begun = [job for job in jobs if job.job_id]
    if len(begun) <= rows:
        return begun
    active = [job for job in begun if not job.over]
    ended = [job for job in begun if job.over]
    room = max(rows - len(active), 0)
    return (ended[-room:] if room else []) + active[: max(rows, 0)]


@contextmanager
def live_view(stage: Stage, console: Console, lines: bool = False) -> Iterator[None]:
    """Show the stage until the block ends: live on a terminal, else line by line.

    Args:
        stage: What to show.
        console: Where.
        lines: Line by line on a terminal, too.
    """
    if console.is_terminal and not lines:
        with Live(Frame(stage), console=console, refresh_per_second=FRAMES_PER_S, transient=True):
            yield
        return

    def write(line: TapeLine) -> None:
        console.print(tape_text(line), soft_wrap=True)

    for line in stage.tape:
        write(line)
    stage.on_line = write
    try:
        yield
    finally:
        stage.on_line = None


def job_table(jobs: list[JobRow], width: int) -> Table:
    """What each job bought and paid."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, width=width)
    table.add_column("job", justify="right")
    table.add_column("buyer", no_wrap=True)
    table.add_column("worker", no_wrap=True)
    table.add_column("tokens", justify="right")
    table.add_column("MFLOP", justify="right")
    table.add_column(PRICE_UNIT, justify="right")
    table.add_column("held", justify="right")
    table.add_column("paid", justify="right")
    table.add_column("ended", no_wrap=True)
    table.add_column("answer", ratio=1, no_wrap=True, overflow="ellipsis")
    for job in sorted(jobs, key=lambda job: job.job_id):
        table.add_row(
            str(job.job_id),
            job.buyer,
            job.worker,
            str(job.tokens),
            grouped(job.flops // 10**6),
            price(job.price_nanos),
            money(job.escrow_nanos),
            money(job.paid_nanos),
            job.cause or job.reason,
            Text(one_line(job.text, 200)),
        )
    return table


def question_table(jobs: list[JobRow], width: int) -> Table:
    """The questions to the adaptive model: what thinking each took and cost, right or wrong."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, width=width)
    table.add_column("question", ratio=1, no_wrap=True, overflow="ellipsis")
    for name in ("right answer", "answer", ""):
        table.add_column(name, no_wrap=True)
    for name in ("steps", "kFLOP", PRICE_UNIT, "paid"):
        table.add_column(name, justify="right", no_wrap=True)
    for job in jobs:
        table.add_row(
            Text(one_line(job.part.prompt, 200)),
            job.part.right_answer,
            Text(job.text.strip() or "gave up"),
            Text("right", style="green") if job.right else Text("wrong", style="yellow"),
            str(job.steps),
            grouped(job.flops // 1_000),
            price(job.price_nanos),
            money(job.paid_nanos),
        )
    return table


def closing(lines: list[tuple[str, str]]) -> Group:
    """The closing statement: names and values, one pair on a line."""
    table = Table.grid(padding=(0, 3))
    for name, value in lines:
        table.add_row(Text(name, style="dim"), escape(value))
    return Group(Text("Closing statement", style="bold"), table)

"""`flopex bench recovery`: how fast a journal is replayed, and how long a restart takes.

Method. A seeded journal is written as an engine writes it: first `live_orders` orders that rest,
then a mix in which as many orders come as go (cancelled, or traded with orders that reach across),
so that there are `live_orders` of them from then on, in groups of `group` commands at `rate`
commands a second of journal time. Whether an order still rests is asked of a book beside. Up
to its last `tail_records` records the follower (`python -m exchange.recovery`, the process that the
server starts) replays it from its first record and takes a snapshot: `replay_per_s` is the records
of the journal per second that this took, reading, checking, decoding and applying them and chaining
a digest over all events; with no snapshot to begin with, no read model, and no disk to wait for but
the journal's. `replay_per_cpu_s` is the same per second of CPU time, for a machine that is busy.
Then the rest of the journal is written, and the exchange's engine is started `rounds` times, each
time in a new process: `restart_s` is the time from the start of that process until the engine would
take a command, interpreter and imports included. It loads the snapshot, checks it against the
journal, replays the tail and journals its new epoch.

The journal lies in the page cache when it is read: it was just written.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from exchange.core.commands import (
    AccountKind,
    AddInstrument,
    Advance,
    CancelOrder,
    ClearingMode,
    Command,
    Deposit,
    OpenAccount,
    PlaceOrder,
    Settlement,
)
from exchange.core.limits import NS_PER_MS, NS_PER_S, RULES_VERSION
from exchange.journal import GroupRecord, LocalLog, SnapshotStore
from exchange.recovery import GENESIS
from flopex.bench.machine import machine
from matching import COMPILED, Book, Order
from matching.events import Cancelled, Fill

TRADERS: Final = 100
INSTRUMENTS: Final = 10
FIRST_TRADER: Final = 3  # two accounts stand for the world outside
FUNDS_NANOS: Final = 10**15
MIDDLE_NANOS: Final = 500_000
TICK_NANOS: Final = 100
DEPTH_TICKS: Final = 1_000
LOT_MFLOP: Final = 100
CROSS_SHARE: Final = 0.1
GTC, IOC = 1, 3
BEGAN_NS: Final = 1_750_000_000 * NS_PER_S

Report = Callable[[str], None]
"""Told what is done now."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run.

    Attributes:
        directory: Where a temporary folder is made.
        live_orders: Orders that rest.
        records: Journal records in all.
        tail_records: Those of them behind the snapshot.
        rounds: Restarts.
        group: Commands of a group.
        rate: Commands per second of journal time.
        seed: Of the flow.
    """

    directory: Path
    live_orders: int = 50_000
    records: int = 200_000
    tail_records: int = 10_000
    rounds: int = 3
    group: int = 1_024
    rate: int = 100_000
    seed: int = 1


class JournalFlow:
    """The journal's commands, one after the other."""

    def __init__(self, settings: Settings) -> None:
        self._chance = random.Random(settings.seed)
        self._settings = settings
        self._made = 0
        self._books = {number: Book() for number in range(1, INSTRUMENTS + 1)}
        self._live: list[PlaceOrder] = []
        self._place_of: dict[int, int] = {}  # in it, by number
        self.now_ns = BEGAN_NS

    def groups(self) -> Iterator[list[Command]]:
        """Groups without end, each with its Advance; the first opens the market."""
        yield [Advance(self.now_ns), *_market(self.now_ns)]
        size = self._settings.group
        while True:
            self.now_ns += size * NS_PER_S // self._settings.rate
            yield [Advance(self.now_ns), *(self._command() for _ in range(size - 1))]

    def _command(self) -> Command:
        """Grow the book to its size, then keep it there."""
        if len(self._live) < self._settings.live_orders:
            return self._rest()
        kind = self._chance.random()
        if kind < CROSS_SHARE:
            return self._cross()
        return self._rest() if kind < (1 + CROSS_SHARE) / 2 else self._cancel()

    def _rest(self) -> Command:
        chance = self._chance
        side = chance.randint(1, 2)
        away = chance.randint(1, DEPTH_TICKS) * TICK_NANOS
        price = MIDDLE_NANOS - away if side == 1 else MIDDLE_NANOS + away
        order = self._order(side, price, GTC)
        self._place_of[_number(order)] = len(self._live)
        self._live.append(order)
        self._enter(order)
        return order

    def _cross(self) -> Command:
        side = self._chance.randint(1, 2)
        reach = DEPTH_TICKS * TICK_NANOS
        order = self._order(side, MIDDLE_NANOS + (reach if side == 1 else -reach), IOC)
        self._enter(order)
        return order

    def _cancel(self) -> Command:
        """The end of any order that rests."""
        order = self._live[self._chance.randrange(len(self._live))]
        self._books[order.instrument_id].cancel(_number(order))
        self._gone(_number(order))
        return CancelOrder(order.account_id, 0, order.client_order_id)

    def _enter(self, order: PlaceOrder) -> None:
        """What the exchange's book will do with an order: which of those that rest end by it."""
        resting = Order(
            _number(order), order.account_id, order.side, order.price_nanos,
            order.quantity_mflop, order.time_in_force, order.self_trade,
        )  # fmt: skip
        for event in self._books[order.instrument_id].place(resting, tell_rests=False):
            if isinstance(event, Fill) and not event.maker_leaves:
                self._gone(event.maker_order_id)
            elif isinstance(event, Cancelled) and event.order_id != resting.order_id:
                self._gone(event.order_id)

    def _gone(self, number: int) -> None:
        at = self._place_of.pop(number)
        last = self._live.pop()
        if at < len(self._live):
            self._live[at] = last
            self._place_of[_number(last)] = at

    def _order(self, side: int, price: int, time_in_force: int) -> PlaceOrder:
        chance = self._chance
        self._made += 1
        head = (self.now_ns // NS_PER_MS).to_bytes(6)
        client_order_id = head + b"\x70\x00\x80" + self._made.to_bytes(7)
        return PlaceOrder(
            chance.randrange(FIRST_TRADER, FIRST_TRADER + TRADERS), client_order_id,
            chance.randint(1, INSTRUMENTS), side, 1, time_in_force, 2,
            price, chance.randint(1, 50) * LOT_MFLOP, 0, 0,
        )  # fmt: skip


def _number(order: PlaceOrder) -> int:
    """Of an order among all: what makes its client id its own, and its id in the book beside."""
    return int.from_bytes(order.client_order_id[9:])


def run(settings: Settings, report: Report = lambda _: None) -> dict[str, Any]:
    """Measure; everything that was found, ready for JSON.

    Raises:
        FileNotFoundError: the folder does not exist.
        RuntimeError: a process failed, or the figures contradict each other.
    """
    if not settings.directory.is_dir():
        raise FileNotFoundError(f"{settings.directory} is no folder: name one that exists")
    with tempfile.TemporaryDirectory(prefix="flopex-recovery-", dir=settings.directory) as name:
        folder = Path(name)
        groups = JournalFlow(settings).groups()
        report("writing the journal")
        written = _write(folder, groups, settings.records - settings.tail_records)
        report("replaying it, and taking a snapshot")
        taken = _follow(folder)
        if taken["sequence"] != written:
            raise RuntimeError(f"the snapshot is of {taken['sequence']}, not of {written}")
        written = _write(folder, groups, settings.records)
        starts = []
        for number in range(settings.rounds):
            report(f"restart {number + 1} of {settings.rounds}")
            starts.append(_restart(folder))
        journal_bytes = sum(path.stat().st_size for path in (folder / "journal").glob("*.log"))
        (snapshot,) = SnapshotStore(folder / "snapshots").paths()
        return _result(settings, written, taken, starts, journal_bytes, snapshot.stat().st_size)


def _result(
    settings: Settings,
    written: int,
    taken: dict[str, Any],
    starts: list[dict[str, Any]],
    journal_bytes: int,
    snapshot_bytes: int,
) -> dict[str, Any]:
    if len({start["live_orders"] for start in starts}) > 1:
        raise RuntimeError("two restarts came to different states")
    seconds = [start["wall_s"] for start in starts]
    shown = {**asdict(settings), "directory": str(settings.directory)}
    return {
        "machine": machine(),
        "compiled": COMPILED,
        "settings": shown,
        "records": written,
        "live_orders": starts[0]["live_orders"],
        "remembered_ids": starts[0]["remembered_ids"],
        "journal_bytes": journal_bytes,
        "snapshot_bytes": snapshot_bytes,
        "replay_records": taken["sequence"],
        "replay_s": taken["replay_s"],
        "replay_per_s": round(taken["sequence"] / taken["replay_s"]),
        "replay_cpu_s": taken["replay_cpu_s"],
        "replay_per_cpu_s": round(taken["sequence"] / taken["replay_cpu_s"]),
        "snapshot_s": taken["write_s"],
        "tail_records": starts[0]["records"],
        "restart_s": statistics.median(seconds),
        "restart_s_range": [min(seconds), max(seconds)],
        "restarts": starts,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
    }


def _write(folder: Path, groups: Iterator[list[Command]], upto: int) -> int:
    """Append groups until the journal has so many records; how many it has."""
    with LocalLog(folder / "journal", rules_version=RULES_VERSION, genesis=GENESIS) as log:
        while log.next_sequence <= upto:
            commands = next(groups)
            payload = b"".join([command.encode() for command in commands])
            log.append(GroupRecord(log.next_sequence, len(commands), 1, payload))
        return log.next_sequence - 1


def _follow(folder: Path) -> dict[str, Any]:
    where = [str(folder / "journal"), str(folder / "snapshots")]
    return _child(["exchange.recovery", *where, "--genesis", GENESIS.hex(), "--niceness", "0"])


def _restart(folder: Path) -> dict[str, Any]:
    return _child(["flopex.bench.recovery_child", str(folder), repr(time.time())])


def _child(arguments: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", *arguments], capture_output=True, check=False
    )
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise RuntimeError(f"{arguments[0]} ended with status {done.returncode}: {said[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _market(now_ns: int) -> list[Command]:
    """Instruments, and traders with paper money."""
    found: list[Command] = [
        AddInstrument(
            settlement=Settlement.PAPER,
            mode=ClearingMode.CONTINUOUS,
            model_id=0,
            tick_nanos=TICK_NANOS,
            lot_mflop=LOT_MFLOP,
            price_min_nanos=TICK_NANOS,
            price_max_nanos=10**9,
            quantity_max_mflop=10**12,
            prefill_millitokens_per_s=0,
            decode_millitokens_per_s=0,
            context_tokens_max=0,
            latest_start_ns=0,
            name=f"bench-{number}",
        )
        for number in range(INSTRUMENTS)
    ]
    for number in range(TRADERS):
        found.append(OpenAccount(AccountKind.PAPER, f"trader-{number}"))
        request_id = (now_ns // NS_PER_MS).to_bytes(6) + b"\x70\x01\x80" + number.to_bytes(7)
        found.append(Deposit(FIRST_TRADER + number, request_id, FUNDS_NANOS))
    return found

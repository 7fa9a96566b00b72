"""`flopex bench journal`: what a durable commit group costs, by the way it is written.

Method. For each way to write and each alignment one journal lies open on the disk that is measured.
Rounds are interleaved: in each, every journal takes a burst of groups of every size, in an order
that turns from round to round, so that a busy moment of a shared machine falls on all of them. A
latency is that of one whole `LocalLog.append`: framing, checksums, hash, write, sync. CPU time is
the process's own, the kernel's part of its system calls included. Segments are made ahead between
bursts, outside of the measurement, as an engine does when it is idle.

On a machine whose cores are all busy, a process that slept for the disk waits for its neighbours'
time slices, and the wall times say nothing about the disk. `real_time` runs the measurement under
SCHED_RR, which wakes it at once.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from exchange.journal import SEGMENT_BYTES, GroupRecord, LocalLog
from exchange.journal.files import OsFileSystem
from exchange.journal.writers import WRITE_MODE, WriteMode
from flopex.bench.machine import machine

GROUP_SIZES: Final = (1, 16, 128, 1024)
ALIGNMENTS: Final = (512, 4096)
WARM_GROUPS: Final = 20

Report = Callable[[int, int], None]
"""Told of progress: rounds done, rounds in all."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run.

    Attributes:
        directory: A folder on the disk to be measured; a temporary one is made in it.
        rounds: Interleaved rounds.
        groups: Groups in one burst.
        record_bytes: Size of one record.
        seed: Of the records' bytes.
        real_time: Run under SCHED_RR.
        segment_bytes: Size of the journals' segments.
    """

    directory: Path
    rounds: int = 20
    groups: int = 100
    record_bytes: int = 100
    seed: int = 1
    real_time: bool = False
    segment_bytes: int = SEGMENT_BYTES


@dataclass(slots=True)
class Cell:
    """What one journal did with groups of one size."""

    mode: WriteMode
    alignment: int
    records: int
    latencies_us: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    medians_us: list[float] = field(default_factory=list)

    def burst(self, log: LocalLog, payload: bytes, groups: int) -> None:
        """Append groups and take the time."""
        while log.wants_preparing and not log.prepare(1 << 20):
            pass
        latencies = []
        cpu = time.process_time()
        for _ in range(groups):
            group = GroupRecord(log.next_sequence, self.records, 1, payload)
            began = time.perf_counter_ns()
            log.append(group)
            latencies.append((time.perf_counter_ns() - began) / 1e3)
        self.cpu_us.append((time.process_time() - cpu) * 1e6 / groups)
        self.medians_us.append(median(latencies))
        self.latencies_us += latencies

    def row(self) -> dict[str, Any]:
        """For the table and the JSON object."""
        ordered = sorted(self.latencies_us)
        mean_us = sum(ordered) / len(ordered)
        cpu_us = median(self.cpu_us)
        return {
            "mode": self.mode.value,
            "alignment": self.alignment,
            "records": self.records,
            "groups": len(ordered),
            "groups_per_s": round(1e6 / mean_us),
            "records_per_s": round(1e6 / mean_us * self.records),
            "p50_us": round(median(ordered), 1),
            "p50_us_rounds": [round(min(self.medians_us), 1), round(max(self.medians_us), 1)],
            "p99_us": round(_percentile(ordered, 0.99), 1),
            "p999_us": round(_percentile(ordered, 0.999), 1),
            "cpu_us_per_group": round(cpu_us, 1),
            "cpu_us_per_group_rounds": [round(min(self.cpu_us), 1), round(max(self.cpu_us), 1)],
            "cpu_us_per_record": round(cpu_us / self.records, 3),
        }


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def run(settings: Settings, report: Report) -> dict[str, Any]:
    """Measure all; the JSON object.

    Raises:
        JournalError: the disk is full or fails.
        OSError: there is no such folder, nothing can be written to it, or SCHED_RR is not
            allowed.
    """
    with tempfile.TemporaryDirectory(prefix="flopex-bench-", dir=settings.directory) as name:
        folder = Path(name)
        logs = _open_logs(folder, settings.segment_bytes)
        try:
            with _scheduling(settings.real_time):
                cells = _measure(settings, logs, report)
            ways = {(mode, alignment): log.write_mode for (mode, alignment), log in logs.items()}
        finally:
            for log in logs.values():
                log.close()
        block_bytes = OsFileSystem().block_bytes(folder)
        disk = mount(folder)
    return {
        "machine": machine(),
        "disk": {**disk, "block_bytes": block_bytes},
        "settings": {**asdict(settings), "directory": str(settings.directory)},
        "default": {"mode": WRITE_MODE.value, "alignment": block_bytes},
        "fallbacks": [
            {"mode": mode, "alignment": alignment, "wrote": way}
            for (mode, alignment), way in ways.items()
            if way is not mode
        ],
        "rows": [cell.row() for cell in cells],
    }


def _open_logs(folder: Path, segment_bytes: int) -> dict[tuple[WriteMode, int], LocalLog]:
    return {
        (mode, alignment): LocalLog(
            folder / f"{mode}-{alignment}",
            rules_version=1,
            genesis=b"bench",
            segment_bytes=segment_bytes,
            alignment=alignment,
            files=OsFileSystem(mode),
        )
        for mode in WriteMode
        for alignment in ALIGNMENTS
    }


def _measure(
    settings: Settings, logs: dict[tuple[WriteMode, int], LocalLog], report: Report
) -> list[Cell]:
    chance = random.Random(settings.seed)
    payloads = {n: chance.randbytes(n * settings.record_bytes) for n in GROUP_SIZES}
    cells = [Cell(*way, records) for records in GROUP_SIZES for way in logs]
    for log in logs.values():
        Cell(WRITE_MODE, 0, 1).burst(log, payloads[1], WARM_GROUPS)
    for done in range(settings.rounds):
        report(done, settings.rounds)
        turn = done % len(cells)
        for cell in cells[turn:] + cells[:turn]:
            log = logs[cell.mode, cell.alignment]
            cell.burst(log, payloads[cell.records], settings.groups)
    return cells


@contextmanager
def _scheduling(real_time: bool) -> Iterator[None]:
    if not real_time:
        yield
        return
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def mount(folder: Path) -> dict[str, str]:
    """The file system that a folder lies on."""
    folder = folder.resolve()
    best = ("/", "unknown", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        device, at, kind = line.split()[:3]
        inside = folder.is_relative_to(at.encode().decode("unicode_escape"))
        if inside and len(at) >= len(best[0]):
            best = (at, kind, device)
    return {"file_system": best[1], "device": best[2].rpartition("/")[2]}

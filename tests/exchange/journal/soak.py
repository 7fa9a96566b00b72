"""The journal's proofs at length: `make soak-journal`, or one of them:

    python -m tests.exchange.journal.soak flips --bytes 32768
    python -m tests.exchange.journal.soak recoveries --count 200000 --seed 1
    python -m tests.exchange.journal.soak syscalls

Prints its progress, and ends with exit status 1 and what replays it at the first failure.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from exchange.journal import verify_journal
from exchange.journal.simulated import SimulatedDisk
from exchange.journal.writers import WriteMode
from tests.exchange.journal.power import lose_power
from tests.exchange.journal.runs import FOLDER, flip_bits, make_group, open_test_log
from tests.exchange.journal.syscalls import CALLS, FAULTS, fail_at, run_writer, tracing_works

REPORT_S = 10.0


class Progress:
    """Prints a line at most every REPORT_S seconds, and one at the end."""

    def __init__(self) -> None:
        self._began = self._said = time.monotonic()

    def say(self, text: str, *, last: bool = False) -> None:
        """Print it, if it is time."""
        now = time.monotonic()
        if last or now - self._said >= REPORT_S:
            self._said = now
            sys.stdout.write(f"{text}, {now - self._began:,.0f} s\n")
            sys.stdout.flush()


def flips(size: int) -> None:
    """Flip every bit of a journal of `size` bytes in two segments, the last one half full."""
    disk = SimulatedDisk()
    segment_bytes = max(8192, size // 2 // 8192 * 8192)
    with open_test_log(files=disk, segment_bytes=segment_bytes) as log:
        while (stat := verify_journal(FOLDER, files=disk)).used_bytes < 1.5 * segment_bytes:
            log.append(make_group(log.next_sequence))
    progress = Progress()
    done = 0
    total = sum(segment.segment_bytes for segment in stat.segments) * 8
    for segment in stat.segments:

        def report(offset: int, path: Path = segment.path) -> None:
            progress.say(f"flips: {path.name} up to offset {offset}")

        done += flip_bits(disk, segment.path, range(segment.segment_bytes), report)
    assert done == total
    progress.say(
        f"flips: {done:,} bits of {len(stat.segments)} segments with {stat.groups} groups, "
        "every one named by its offset",
        last=True,
    )


def recoveries(count: int, seed: int) -> None:
    """Lose power until `count` disks have been recovered from."""
    progress = Progress()
    found = Counter[str]()
    at = seed
    while found["recoveries"] < count:
        try:
            found += lose_power(at)
        except AssertionError:
            sys.stdout.write(f"recoveries: seed {at} fails: lose_power({at})\n")
            raise
        at += 1
        progress.say(f"recoveries: seeds {seed} to {at - 1}, {dict(found)}")
    progress.say(f"recoveries: seeds {seed} to {at - 1}, {dict(found)}", last=True)


def syscalls() -> None:
    """Let every system call of a writer fail in every way, one at a time."""
    if not tracing_works():
        sys.stdout.write("syscalls: left out, strace cannot trace here\n")
        return
    progress = Progress()
    done = Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        for mode in WriteMode:
            calls = run_writer(Path(name) / f"{mode}-whole", mode).calls
            for call in CALLS:
                for at in range(1, calls[call] + 1):
                    for fault in FAULTS:
                        fail_at(Path(name) / "journal", mode, call, at, fault)
                        done[fault] += 1
                        progress.say(f"syscalls: {mode}, {call} {at} of {calls[call]}")
    progress.say(f"syscalls: {dict(done)}, nothing that was acknowledged was lost", last=True)


def main() -> int:
    """Run one of them, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("all", "flips", "recoveries", "syscalls"))
    parser.add_argument("--bytes", type=int, default=32_768, help="size of the flipped journal")
    parser.add_argument("--count", type=int, default=200_000, help="recoveries")
    parser.add_argument("--seed", type=int, default=1, help="the first seed of the recoveries")
    options = parser.parse_args()
    if options.what in {"all", "flips"}:
        flips(options.bytes)
    if options.what in {"all", "recoveries"}:
        recoveries(options.count, options.seed)
    if options.what in {"all", "syscalls"}:
        syscalls()
    return 0


if __name__ == "__main__":
    sys.exit(main())

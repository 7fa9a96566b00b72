"""A replay of a journal's last group in a process of its own, which it may end.

    python -m exchange.recovery.trial JOURNAL SNAPSHOTS GENESIS FIRST_SEQUENCE

Says a line when it comes to the group, one of what the group holds, and one of how it went.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from exchange.core.commands import decode
from exchange.core.limits import RULES_VERSION
from exchange.core.records import RecordError
from exchange.journal import GroupRecord, JournalWalk, Position, SnapshotStore
from exchange.journal.files import OsFileSystem
from exchange.recovery.follower import Tail
from exchange.recovery.replay import collecting_paused
from exchange.recovery.start import recover

CRASHES: Final = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)
"""Signals that a process gets for what it does itself."""
_REACHED: Final = "reached"
_PASSED: Final = "passed"
_BROKE: Final = "broke: "


class Trial(NamedTuple):
    """How a replay went at a group.

    Attributes:
        reached: Whether it came to the group.
        passed: Whether it got past it.
        commands: How many of each kind the group holds; None where that could not be read.
        end: What ended it there, by the group's own doing; empty where it got past it, or where it
            may have been something else: want of memory, a signal from outside.
        said: What it said last, where it said anything.
    """

    reached: bool
    passed: bool
    commands: dict[str, int] | None
    end: str
    said: str


def try_group(journal: Path, snapshots: Path, genesis: bytes, group: GroupRecord) -> Trial:
    """Replay from the newest good snapshot, as a start does, up to and including a group.

    Args:
        journal: The journal's folder.
        snapshots: The snapshots' folder.
        genesis: What the exchange started from.
        group: One of the journal's, behind all snapshots.

    Raises:
        OSError: no process can be started.
    """
    where = [str(journal), str(snapshots), genesis.hex(), str(group.first_sequence)]
    command = [sys.executable, "-P", "-m", "exchange.recovery.trial", *where]
    done = subprocess.run(command, capture_output=True, check=False, text=True, errors="replace")
    lines = done.stdout.splitlines()
    end = next((line[len(_BROKE) :] for line in lines if line.startswith(_BROKE)), "")
    if not end and -done.returncode in CRASHES:
        end = signal.Signals(-done.returncode).name
    held = next((line for line in lines if line.startswith("{")), None)
    said = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
    return Trial(
        _REACHED in lines,
        _PASSED in lines,
        None if held is None else msgspec.json.decode(held, type=dict[str, int]),
        end if _REACHED in lines else "",
        said,
    )


def main(journal: Path, snapshots: Path, genesis: bytes, first_sequence: int) -> None:
    """Apply the groups up to that one."""

    def open_tail(start: Position | None) -> Tail:
        disk = OsFileSystem()
        return Tail(
            JournalWalk(disk, journal, rules_version=RULES_VERSION, genesis=genesis, anchor=start)
        )

    with collecting_paused():
        started = recover(SnapshotStore(snapshots), genesis, open_tail)
        with contextlib.closing(started.log) as tail:
            for group, _ in tail:
                if group.first_sequence < first_sequence:
                    started.replica.apply(group.first_sequence, group.payload)
                    continue
                _say(_REACHED)
                with contextlib.suppress(RecordError):  # Then applying it says so, below.
                    _say(_held(group))
                try:
                    started.replica.apply(group.first_sequence, group.payload)
                except MemoryError:
                    raise  # of this machine, not of this group
                except Exception as error:
                    _say(f"{_BROKE}{type(error).__name__}: {error}".replace("\n", " "))
                else:
                    _say(_PASSED)
                return


def _held(group: GroupRecord) -> str:
    kinds = Counter(type(command).__name__ for command in decode(group.payload))
    return msgspec.json.encode(dict(kinds)).decode()


def _say(line: str) -> None:
    """At once: the next thing may end the process."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), bytes.fromhex(sys.argv[3]), int(sys.argv[4]))

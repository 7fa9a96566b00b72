"""`python -m exchange.recovery JOURNAL SNAPSHOTS`: the follower's process, started by the server.

It says what it did in one line of JSON. Exit status 0: done; 3: the replay differs from what the
live engine published; 1: anything else. `flopex journal snapshot` does the same for people.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from exchange.core.records import RecordError
from exchange.journal import JournalError
from exchange.processors import give_way
from exchange.recovery.digests import Differs, Published
from exchange.recovery.follower import SNAPSHOTS_KEPT, follow
from exchange.recovery.keeper import EXIT_DIFFERS

NICENESS: Final = 10
"""The engine, whose machine it shares, goes first."""


def main(arguments: list[str]) -> int:
    """Take one snapshot; the exit status."""
    parser = argparse.ArgumentParser("exchange.recovery", description=__doc__)
    parser.add_argument("journal", type=Path)
    parser.add_argument("snapshots", type=Path)
    parser.add_argument("--genesis", type=bytes.fromhex, required=True)
    parser.add_argument("--keep", type=int, default=SNAPSHOTS_KEPT)
    parser.add_argument("--sequence", type=int)
    parser.add_argument("--outcomes", type=bytes.fromhex)
    parser.add_argument("--state", type=bytes.fromhex)
    parser.add_argument("--niceness", type=int, default=NICENESS)
    parser.add_argument("--gives-way", action="store_true")
    given = parser.parse_args(arguments)
    live = None
    if given.sequence is not None:
        live = Published(given.sequence, given.outcomes, given.state)
    with contextlib.suppress(OSError):
        os.nice(given.niceness)
    if given.gives_way:
        give_way()
    try:
        taken = follow(given.journal, given.snapshots, given.genesis, live=live, keep=given.keep)
    except Differs as error:
        _say(error=str(error), sequence=error.sequence, what=error.what)
        return EXIT_DIFFERS
    except (JournalError, RecordError, AssertionError, OSError) as error:
        _say(error=f"{type(error).__name__}: {error}")
        return 1
    facts = taken._asdict() | {
        "path": str(taken.path) if taken.path else None,
        "digest": taken.digest.hex(),
    }
    _say(**facts)
    return 0


def _say(**facts: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(facts) + b"\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

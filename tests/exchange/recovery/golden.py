"""Golden journals: small ones that are committed, with the state that they must replay to.

    python -m tests.exchange.recovery.golden    # makes those of the present rules anew

They hold against accidents: a change after which old journals replay to something else must raise
RULES_VERSION, and then this is run again. Those of older rules go: no program replays them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

from exchange.core.limits import RULES_VERSION
from exchange.journal import GroupRecord
from exchange.recovery import follow
from tests.exchange.recovery.journals import GENESIS, groups, replayed, write

FOLDER: Final = Path(__file__).parent / "golden"
SEEDS: Final = (101, 102, 103)
COMMANDS: Final = 500
FACTS: Final = "golden.json"


def folder_of(seed: int) -> Path:
    """Where a golden journal lies."""
    return FOLDER / f"rules-{RULES_VERSION}-seed-{seed}"


def facts_of(found: tuple[GroupRecord, ...]) -> dict[str, Any]:
    """What a replay of these groups comes to."""
    replica = replayed(found)
    return {
        "sequence": replica.core.sequence,
        "outcomes": replica.outcomes.hex(),
        "digest": replica.core.digest().hex(),
    }


def make(seed: int) -> None:
    """A journal of random commands, a snapshot from its middle, and what it replays to."""
    folder, found = folder_of(seed), groups(seed, COMMANDS)
    write(folder / "journal", found[: len(found) // 2])
    follow(folder / "journal", folder / "snapshots", GENESIS)
    write(folder / "journal", found)
    (folder / FACTS).write_text(json.dumps(facts_of(found), indent=2) + "\n")
    for lock in (folder / "journal" / "LOCK", folder / "snapshots" / "LOCK"):
        lock.unlink()


def main() -> None:
    """Make all anew."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for seed in SEEDS:
        make(seed)


if __name__ == "__main__":
    main()

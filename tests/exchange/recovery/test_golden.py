"""What was written under these rules replays to what it did then, from the start and a snapshot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from exchange.core.limits import RULES_VERSION
from exchange.journal import read_journal, verify_journal
from tests.exchange.recovery.golden import FACTS, FOLDER, SEEDS, facts_of, folder_of
from tests.exchange.recovery.journals import GENESIS
from tests.exchange.recovery.test_start import start


def test_there_are_some_of_the_present_rules_and_no_others() -> None:
    """After a change of RULES_VERSION: python -m tests.exchange.recovery.golden"""
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(
        folder_of(seed).name for seed in SEEDS
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_it_replays_to_the_stated_state(seed: int, tmp_path: Path) -> None:
    """Where this fails, the same journal gives something else now: raise RULES_VERSION."""
    folder = folder_of(seed)
    stated = json.loads((folder / FACTS).read_text())
    stat = verify_journal(folder / "journal", rules_version=RULES_VERSION, genesis=GENESIS)
    assert stat.next_sequence - 1 == stated["sequence"]
    assert facts_of(tuple(read_journal(folder / "journal"))) == stated
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)  # a start writes into the folder
    started = start(copy)
    assert started.snapshot is not None, started.refused
    assert started.replica.core.digest().hex() == stated["digest"]
    assert started.replica.outcomes.hex() == stated["outcomes"]

"""Some hundred seeds, the same ones again elsewhere, and planted defects that must be found."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exchange.journal import GroupRecord, LocalLog
from exchange.rpc.admin import AdminServicer
from exchange.testing import uuid7
from tests.simulation.__main__ import REPLAY
from tests.simulation.run import simulate

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("FLOPEX_SIMULATIONS", "500"))
CHUNK = 125
UNTIL_FOUND = 20
"""Seeds within which each planted defect must be found."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(1, SEEDS + 1, CHUNK))
def test_everything_comes_right(first: int) -> None:
    """On all cores: a run is a function of its seed, and they are many."""
    count, processes = min(CHUNK, SEEDS + 1 - first), os.cpu_count() or 1
    command = [sys.executable, "-m", "tests.simulation", "--first", str(first)]
    command += ["--seeds", str(count), "--processes", str(processes)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\nagain: {REPLAY}SEED"


def test_the_same_seed_gives_the_same_run_in_another_process() -> None:
    """With other hashes, and with other things in memory before it."""
    here = [simulate(seed) for seed in range(1, 4)]
    assert len({result.digest for result in here}) == len(here)
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "3", "--verbose"]
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        said = [line for line in done.stdout.splitlines() if line.startswith("Result(")]
        assert said == [str(result) for result in here]


def test_things_do_go_wrong() -> None:
    """Otherwise it would prove nothing."""
    results = [simulate(seed) for seed in range(1, 16)]
    network = sum((Counter(result.network) for result in results), Counter[str]())
    assert set(network) == {"messages", "broken", "twice", "slow", "refused"}
    assert sum(result.lives - 1 for result in results) > len(results)
    assert sum(result.told["settled"] for result in results) > 5 * len(results)
    assert sum(result.told["repeats"] for result in results) > 0


def _a_log_that_is_one_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group is called durable when the one before it is."""
    honest_begin, honest_finish = LocalLog.begin, LocalLog.finish
    held: dict[LocalLog, GroupRecord] = {}

    def begin(log: LocalLog, group: GroupRecord) -> None:
        before = held.get(log)
        held[log] = group
        if before is not None:
            honest_begin(log, before)

    def finish(log: LocalLog) -> None:
        if log._begun is not None:
            honest_finish(log)

    monkeypatch.setattr(LocalLog, "begin", begin)
    monkeypatch.setattr(LocalLog, "finish", finish)


def _deposits_without_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeat is another deposit."""
    honest: Any = AdminServicer.Deposit

    async def deposit(servicer: AdminServicer, request: Any, context: Any) -> Any:
        request.request_id = uuid7()
        return await honest(servicer, request, context)

    monkeypatch.setattr(AdminServicer, "Deposit", deposit)


def _nothing_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that could not be applied stays on the disk."""
    monkeypatch.setattr(LocalLog, "take_back", LocalLog.finish)


def _some_seeds() -> None:
    for seed in range(1, 1 + UNTIL_FOUND):
        simulate(seed)


@pytest.mark.parametrize(
    ("plant", "finding"),
    [
        (_a_log_that_is_one_behind, "another thing after the crash"),
        (_deposits_without_ids, "an acknowledged deposit is lost"),
        (_nothing_is_taken_back, "what was taken back is there"),
    ],
)
def test_a_planted_defect_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], finding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError, match=finding):
        _some_seeds()

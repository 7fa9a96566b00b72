"""The recovery benchmark counts what it says, restarts for real, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exchange.core.exchange import Exchange
from flopex.bench.recovery import JournalFlow, Settings, run


def test_replay_and_restarts_are_measured(tmp_path: Path) -> None:
    told: list[str] = []
    settings = Settings(
        tmp_path, live_orders=500, records=3_000, tail_records=500, rounds=2, group=200
    )
    result = run(settings, told.append)
    assert told[-1] == "restart 2 of 2"
    assert 3_000 <= result["records"] < 3_200
    assert result["replay_records"] + result["tail_records"] == result["records"]
    assert result["replay_per_s"] == round(result["replay_records"] / result["replay_s"])
    assert result["replay_per_cpu_s"] > 0
    low, high = result["restart_s_range"]
    assert 0 < low <= result["restart_s"] <= high
    assert len(result["restarts"]) == 2
    assert all(start["import_s"] < start["wall_s"] for start in result["restarts"])
    assert 490 <= result["live_orders"] < 600
    assert json.loads(json.dumps(result)) == result
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError, match="no folder"):
        run(Settings(tmp_path / "missing"))


def test_the_flow_is_what_a_seed_says_and_the_core_takes_it(tmp_path: Path) -> None:
    settings = Settings(tmp_path, live_orders=300, group=100)
    flows = [JournalFlow(settings).groups() for _ in range(2)]
    core = Exchange()
    for number in range(30):
        group, again = next(flows[0]), next(flows[1])
        assert group == again
        assert not any(type(events[0]).__name__ == "Refused" for events in core.apply(group))
        if number > 3:
            assert 290 <= len(core.orders) < 330  # the last command may have taken some
    core.check()
    assert core.counters.trade > 100

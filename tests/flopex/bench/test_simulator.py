"""The simulator's benchmark counts what it says, and a seed decides its market."""

from __future__ import annotations

import json
from pathlib import Path

from flopex.bench.simulator import (
    REFERENCE,
    REFERENCE_DIGEST,
    Settings,
    demand_of,
    run,
    scenario_of,
)

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "benchmarks" / "simulator.md"


def test_a_market_is_measured() -> None:
    settings = Settings(jobs=600, workers=10, slots=2)
    result = run(settings)
    assert json.loads(json.dumps(result)) == result
    assert (result["jobs"], result["settings"]["workers"]) == (600, 10)
    assert result["events"] > 5 * 600 * (1 - result["missed"])
    assert result["events_per_cpu_s"] == round(result["events"] / result["cpu_s"])
    assert run(settings)["digest"] == result["digest"] != run(Settings(600, 10, 3))["digest"]
    assert result["digest_as_published"] is None


def test_this_machine_gives_the_published_digest() -> None:
    result = run(REFERENCE)
    assert result["digest"] == REFERENCE_DIGEST
    assert result["digest_as_published"] is True
    assert f"`{REFERENCE_DIGEST}`" in DOCUMENT.read_text()
    command = f"flopex bench sim --jobs {REFERENCE.jobs} --workers {REFERENCE.workers} --json"
    assert command in DOCUMENT.read_text()


def test_the_fleet_and_the_demand_are_as_large_as_asked() -> None:
    settings = Settings(jobs=300, workers=11, slots=4, load=0.7)
    scenario = scenario_of(settings)
    assert sum(kind.workers for kind in scenario.classes) == 11
    demand = demand_of(settings, scenario)
    assert len(demand.jobs) == 300
    work_ns = sum(job.work_ns for job in demand.jobs)
    load = work_ns / demand.window_starts_ns[-1] / scenario.capacity()
    assert abs(load - 0.7) < 0.01

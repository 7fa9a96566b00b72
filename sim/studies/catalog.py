"""All studies, by name."""

from __future__ import annotations

import importlib
from typing import Final

from sim.scenario import ScenarioError
from sim.studies.study import Study

NAMES: Final = {
    "bound": "sim.studies.bound",
    "welfare": "sim.studies.welfare",
    "period": "sim.studies.period",
    "incentives": "sim.studies.incentives",
    "elastic": "sim.studies.elastic",
    "gating": "sim.studies.gating",
    "unknown_work": "sim.studies.unknown_work",
    "fairness": "sim.studies.fairness",
    "heavy_jobs": "sim.studies.heavy_jobs",
    "affinity": "sim.studies.affinity",
    "messages": "sim.studies.messages",
    "worker_loss": "sim.studies.worker_loss",
    "sellers": "sim.studies.sellers",
    "auction": "sim.studies.auction",
    "dealers": "sim.studies.dealers",
}
"""The studies that can be run, and where they are."""

WAITING: Final = {
    "audits": "S15, waits for audits of receipts by a second worker",
}
"""Planned studies, and what they wait for."""


def find(name: str) -> Study:
    """The study of a name.

    Raises:
        ScenarioError: there is none, or not yet.
    """
    if name in WAITING:
        raise ScenarioError(f"{name}: {WAITING[name]}")
    if name not in NAMES:
        raise ScenarioError(f"there is no study {name!r}: {', '.join(NAMES)}")
    study: Study = importlib.import_module(NAMES[name]).STUDY
    return study

"""All studies, by name."""

from __future__ import annotations

import importlib
from typing import Final

from sim.scenario import ScenarioError
from sim.studies.study import Study

NAMES: Final = {
    "welfare": "sim.studies.welfare",
    "incentives": "sim.studies.incentives",
}
"""The studies that can be run, and where they are."""

WAITING: Final = {"audits": "S15, waits for audits of receipts by a second worker"}
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

"""The simulator: demand traces through the engine that runs live, in virtual time.

from pathlib import Path
from sim import Scenario, run

verdict = run(Path("AzureLLMInferenceTrace_conv.csv"), Scenario(load=1.3))
"""

from __future__ import annotations

from sim.scenario import HardwareClass, Scenario, ScenarioError, Urgency, load_scenario
from sim.studies.welfare import study_welfare as run
from sim.traces import Request, TraceFileError, read_trace

__all__ = [
    "HardwareClass",
    "Request",
    "Scenario",
    "ScenarioError",
    "TraceFileError",
    "Urgency",
    "load_scenario",
    "read_trace",
    "run",
]

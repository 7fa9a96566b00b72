"""The simulator: demand traces through the engine that runs live, in virtual time.

from pathlib import Path
from sim import Scenario, run

result = run(Path("AzureLLMInferenceTrace_conv.csv"), Scenario(load=1.3))
result.frame    # a Polars frame: one row for each window
result.verdict  # what it shows
"""

from __future__ import annotations

from sim.scenario import HardwareClass, Losses, Scenario, ScenarioError, Urgency
from sim.scenario_file import load_scenario
from sim.studies.run import Result, run, run_study
from sim.studies.study import Plan
from sim.traces import Request, TraceFileError, read_trace

__all__ = [
    "HardwareClass",
    "Losses",
    "Plan",
    "Request",
    "Result",
    "Scenario",
    "ScenarioError",
    "TraceFileError",
    "Urgency",
    "load_scenario",
    "read_trace",
    "run",
    "run_study",
]

"""Demand traces: when requests came, and how long they were. No trace has values or deadlines.

Readers take a file that the user names, as its source publishes it or as CSV with the columns
`arrival_s` or `arrival_ms`, `prompt_tokens`, `output_tokens`, and where it is known which prompts
begin alike `prefix_block_ids_512`; `.gz` is unpacked.
Nothing is fetched.
"""

from __future__ import annotations

from sim.traces.open import read_trace
from sim.traces.request import Request, TraceFileError

__all__ = ["Request", "TraceFileError", "read_trace"]

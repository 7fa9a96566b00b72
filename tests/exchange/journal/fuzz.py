"""The journal's decoder under atheris: `make fuzz-journal RUNS=5000000`."""

from __future__ import annotations

import atheris

from tests.fuzzing import fuzz

with atheris.instrument_imports(include=["exchange.journal"]):
    from tests.exchange.journal.decoding import decode_anything, seeds


if __name__ == "__main__":
    fuzz(decode_anything, seeds())

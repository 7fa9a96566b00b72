"""The snapshot's decoders under atheris: `make fuzz-snapshots RUNS=5000000`."""

from __future__ import annotations

import atheris

from tests.fuzzing import fuzz

with atheris.instrument_imports(include=["exchange.journal", "exchange.core", "matching"]):
    from tests.exchange.recovery.decoding import decode_anything, seeds


if __name__ == "__main__":
    fuzz(decode_anything, seeds())

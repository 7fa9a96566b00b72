"""The decoders of requests under atheris: `make fuzz-requests RUNS=5000000`."""

from __future__ import annotations

import atheris

from tests.fuzzing import fuzz

with atheris.instrument_imports(
    include=[
        "exchange.core.commands",
        "exchange.core.records",
        "exchange.metering",
        "exchange.packed",
        "exchange.rpc.convert",
    ]
):
    from tests.exchange.rpc.decoding import decode_anything, seeds


if __name__ == "__main__":
    fuzz(decode_anything, seeds())

"""The link's decoders under atheris: `make fuzz-link RUNS=5000000`."""

from __future__ import annotations

import atheris

from tests.fuzzing import fuzz

with atheris.instrument_imports(include=["exchange.link"]):
    from tests.exchange.link.decoding import decode_anything, seeds


if __name__ == "__main__":
    fuzz(decode_anything, seeds())

"""The snapshot's decoders under atheris: `make fuzz-snapshots RUNS=5000000`.

Arguments are libFuzzer's. It ends with an exit status other than 0 at the first input that breaks
what `decoding.decode_anything` states, and writes that input to a file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["exchange.journal", "exchange.core", "matching"]):
    from tests.exchange.recovery.decoding import decode_anything, seeds


def main() -> None:
    """Fuzz, beginning with the seeds."""
    with tempfile.TemporaryDirectory() as name:
        for number, seed in enumerate(seeds()):
            (Path(name) / str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, name], decode_anything)
        atheris.Fuzz()


if __name__ == "__main__":
    main()

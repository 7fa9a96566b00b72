"""The link's decoders under atheris: `make fuzz-link RUNS=5000000`; see `decoding.decode_anything`.

Arguments are libFuzzer's. It ends with an exit status other than 0 at the first input that breaks
what is stated there, and writes that input to a file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["exchange.link"]):
    from tests.exchange.link.decoding import decode_anything, seeds


def target(data: bytes) -> None:
    """One execution."""
    decode_anything(data)


def main() -> None:
    """Fuzz, beginning with the seeds."""
    with tempfile.TemporaryDirectory() as name:
        for number, seed in enumerate(seeds()):
            (Path(name) / str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, name], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()

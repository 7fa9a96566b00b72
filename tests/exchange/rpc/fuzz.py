"""The decoders of requests under atheris: `make fuzz-requests RUNS=5000000`.

Arguments are libFuzzer's (`-runs=`, `-seed=`, `-max_len=`, corpus folders). It ends with an exit
status other than 0 at the first input that breaks what `decoding.decode_anything` states, and
writes that input to a file; `-runs=1 FILE` repeats it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

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

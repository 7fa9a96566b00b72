"""One main for every fuzzer: libFuzzer's arguments (`-runs=`, `-seed=`, `-max_len=`, corpora)."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris


def fuzz(target: Callable[[bytes], object], seeds: Iterable[bytes]) -> None:
    """Run a target until the arguments' end, beginning with the seeds.

    It ends with an exit status other than 0 at the first input that breaks what the target states,
    and writes that input to a file; `-runs=1 FILE` repeats it.
    """
    with tempfile.TemporaryDirectory() as name:
        for number, seed in enumerate(seeds):
            (Path(name) / str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, name], target)
        atheris.Fuzz()

"""A kernel's results against the reference: every bit, on outputs that were full of garbage."""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np

from flopex.bench.gating.cases import Case
from worker.model import gate_reference
from worker.model.kernels.host import Kernels

GUARD: Final = 64
"""Elements before and behind each output that must stay as they were."""
POISONS: Final = (0xA5, 0xFF)
"""Bytes that outputs are full of before a run; the second makes every float a NaN."""


class Device(Protocol):
    """Where the kernels run."""

    def give(self, array: np.ndarray) -> Any:
        """A copy of the array there; uint16 is bf16."""

    def take(self, array: Any) -> np.ndarray:
        """A copy of the array here, after all that was started is done."""


def problems(kernels: Kernels, device: Device, case: Case) -> list[str]:
    """What is wrong with a case's results: nothing, if all is well."""
    expected = getattr(gate_reference, case.function)(*case.arrays, *case.numbers)
    inputs = [device.give(array) for array in case.arrays]
    found: list[str] = []
    before: list[bytes] = []
    for poison in POISONS:
        padded = [device.give(_poisoned(result, poison)) for result in expected]
        out = tuple(
            whole[GUARD : GUARD + result.size].reshape(result.shape)
            for whole, result in zip(padded, expected, strict=True)
        )
        getattr(kernels, case.function)(*inputs, *case.numbers, out=out)
        for number, (whole, result) in enumerate(zip(padded, expected, strict=True)):
            got = device.take(whole)
            what = f"{case.function} {case.label}, result {number}"
            if not _guards_hold(got, result, poison):
                found.append(f"{what}: written outside of it")
            mine = got[GUARD : GUARD + result.size].reshape(result.shape)
            if not np.array_equal(mine, result, equal_nan=mine.dtype.kind == "f"):
                same = (mine == result) | (np.isnan(mine) & np.isnan(result))
                at = tuple(map(int, np.argwhere(~same)[0]))
                found.append(f"{what}: {mine[at]} instead of {result[at]} at {at}")
        runs = [device.take(array).tobytes() for array in out]
        if before and runs != before:
            found.append(f"{case.function} {case.label}: two runs differ")
        before = runs
    for given, array in zip(inputs, case.arrays, strict=True):
        if device.take(given).tobytes() != array.tobytes():
            found.append(f"{case.function} {case.label}: an input was changed")
    return found


def _poisoned(like: np.ndarray, poison: int) -> np.ndarray:
    raw = np.full((like.size + 2 * GUARD) * like.itemsize, poison, np.uint8)
    return raw.view(np.uint8 if like.dtype == bool else like.dtype)


def _guards_hold(got: np.ndarray, like: np.ndarray, poison: int) -> bool:
    raw = got.view(np.uint8)
    edge = GUARD * like.itemsize
    return bool((raw[:edge] == poison).all() and (raw[edge + like.nbytes :] == poison).all())

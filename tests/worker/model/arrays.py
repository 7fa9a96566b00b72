"""Array libraries for tests: one test body, run with each of them that this machine has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest


@dataclass(frozen=True)
class Library:
    """Where arrays go before a function sees them, and how they come back."""

    name: str

    def give(self, array: np.ndarray) -> Any:
        """The array as this library's, with memory of its own."""
        if self.name == "numpy":
            return array.copy()
        if self.name == "torch":
            import torch

            return torch.tensor(array)
        import cupy

        return cupy.array(array)

    @staticmethod
    def take(array: Any) -> np.ndarray:
        """The result as a NumPy array."""
        result: np.ndarray = np.asarray(array.get() if hasattr(array, "get") else array)
        return result


def library(name: str) -> Library:
    """The library, or a skip that says why there is none."""
    if name == "torch":
        pytest.importorskip("torch", reason="torch is not installed (extra: train)")
    if name == "cupy":
        from worker.model.kernels import launch

        if why := launch.missing():
            pytest.skip(f"no CUDA kernels: {why}")
    return Library(name)


LIBRARIES = ("numpy", "torch", "cupy")

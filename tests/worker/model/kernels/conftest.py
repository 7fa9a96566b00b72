"""The kernels' sources as a CPU runs them, built once."""

from __future__ import annotations

import ctypes
import shutil

import pytest

from tests.worker.model.kernels import on_cpu


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ctypes.CDLL]:
    if shutil.which(on_cpu.COMPILER) is None:
        pytest.skip(f"{on_cpu.COMPILER} is not installed")
    return on_cpu.build(tmp_path_factory.mktemp("kernels"))

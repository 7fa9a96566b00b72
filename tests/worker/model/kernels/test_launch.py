"""What can be said of launching without a GPU: why there is none, and that compiling is cached."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from tests.worker.model.kernels import nvrtc
from worker.model import gate_reference, gating
from worker.model.kernels import launch
from worker.model.kernels.sources import OPTIONS


class NVRTCError(RuntimeError):
    pass


class Compiler:
    """NVRTC behind the functions of `cupy.cuda.nvrtc` that are used."""

    NVRTCError = NVRTCError

    def __init__(self) -> None:
        self.compiled = 0
        self.options: tuple[str, ...] = ()

    def getVersion(self) -> tuple[int, int]:
        return 13, 0

    def createProgram(self, text: str, *_: object) -> SimpleNamespace:
        return SimpleNamespace(text=text, cubin=b"", log="")

    def compileProgram(self, program: SimpleNamespace, options: tuple[str, ...]) -> None:
        self.compiled += 1
        self.options = options
        code, program.cubin, program.log = nvrtc.compile_source(program.text, *options)
        if code:
            raise NVRTCError(f"NVRTC_ERROR {code}")

    def getCUBIN(self, program: SimpleNamespace) -> bytes:
        cubin: bytes = program.cubin
        return cubin

    def getProgramLog(self, program: SimpleNamespace) -> str:
        return str(program.log)

    def destroyProgram(self, program: SimpleNamespace) -> None:
        program.text = ""


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Compiler:
    if nvrtc.library() is None:
        pytest.skip("NVRTC is not installed (dependency group: kernels)")
    stand_in = Compiler()
    cuda = ModuleType("cupy.cuda")
    cuda.nvrtc = stand_in  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupy", ModuleType("cupy"))
    monkeypatch.setitem(sys.modules, "cupy.cuda", cuda)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return stand_in


def test_a_source_is_compiled_once(compiler: Compiler, tmp_path: Path) -> None:
    path = launch._cubin("halt", "sm_90")
    assert path.read_bytes().startswith(b"\x7fELF")
    assert path.is_relative_to(tmp_path / "flopex" / "kernels")
    assert launch._cubin("halt", "sm_90") == path
    assert compiler.compiled == 1
    assert compiler.options == (*OPTIONS, "--gpu-architecture=sm_90")
    assert launch._cubin("halt", "sm_80") != path
    assert [p.suffix for p in path.parent.iterdir()] == [".cubin", ".cubin"]


def test_what_does_not_compile_says_why(compiler: Compiler) -> None:
    with pytest.raises(launch.KernelsMissing, match=r"cannot compile halt\.cu: .*gpu-architecture"):
        launch._cubin("halt", "sm_10")
    assert not launch.cache_folder().exists()


def test_without_nvrtc_it_says_so(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> tuple[int, int]:
        raise RuntimeError("CuPy failed to load libnvrtc.so.13")

    monkeypatch.setattr(compiler, "getVersion", absent)
    with pytest.raises(launch.KernelsMissing, match=r"no NVRTC.*libnvrtc"):
        launch._cubin("halt", "sm_90")


def test_without_cupy_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert launch.missing.__wrapped__() == "CuPy is not installed (extra: cuda12 or cuda13)"


def test_the_gate_imports_no_gpu_library() -> None:
    program = (
        "import sys, numpy as np; from worker.model import gating;"
        "gating.route(np.zeros((2, 4), np.float32), 0.5, 1, width=1);"
        "print(sorted({'torch', 'cupy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"


def test_a_gpu_array_without_kernels_falls_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a GPU host without CuPy: the array is taken for one of a GPU, and computed with."""
    gating._kernels_missing.cache_clear()
    monkeypatch.setattr(gate_reference, "on_gpu", lambda _: True)
    monkeypatch.setattr(launch, "missing", lambda: "CuPy is not installed")
    logits = np.zeros((2, 4), np.float32)
    assert gating.backend(logits) == ("numpy", "CuPy is not installed")
    assert gating.route(logits, 0.5, 1, width=1).experts.tolist() == [[0], [0]]
    assert [r.getMessage() for r in caplog.records] == [
        "the gate runs as array code, without its CUDA kernels: CuPy is not installed"
    ]
    gating._kernels_missing.cache_clear()

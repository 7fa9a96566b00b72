"""NVRTC compiles the exact sources for every architecture, without driver or GPU."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.worker.model.kernels import nvrtc
from worker.model.kernels.sources import ARCHITECTURES, FILES, KERNELS, OPTIONS, source

needs_nvrtc = pytest.mark.skipif(
    nvrtc.library() is None, reason="NVRTC is not installed (dependency group: kernels)"
)
ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers",
    re.DOTALL,
)


def check_report(report: str, file: str) -> None:
    """What ptxas says of each kernel of a file: no memory for locals, registers in bounds."""
    entries = {entry["name"]: entry for entry in ENTRY.finditer(report)}
    assert set(entries) == {name for name, kernel in KERNELS.items() if kernel.file == file}
    for name, entry in entries.items():
        assert (entry["stack"], entry["stores"], entry["loads"]) == ("0", "0", "0"), name
        assert int(entry["registers"]) <= KERNELS[name].registers_max, name


@needs_nvrtc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("file", FILES)
def test_every_source_compiles(file: str, architecture: str) -> None:
    wanted = (*OPTIONS, f"--gpu-architecture={architecture}", "--ptxas-options=-v")
    code, cubin, log = nvrtc.compile_source(source(file), *wanted)
    assert code == 0, log
    assert cubin.startswith(b"\x7fELF")
    assert "warning" not in log
    check_report(log, file)


@needs_nvrtc
@pytest.mark.parametrize("file", FILES)
def test_nothing_rounds_in_its_own_way(file: str) -> None:
    """No contraction, approximation or flushing: each operation is the one IEEE 754 defines."""
    code, ptx = nvrtc.ptx(source(file), *OPTIONS, "--gpu-architecture=compute_90")
    assert code == 0
    assert ".entry" in ptx
    assert re.findall(r"\b(?:fma|mad\.rn)\.\S*|\S*\.(?:approx|full|ftz)\b\S*", ptx) == []
    code, contracted = nvrtc.ptx(source(file), "--gpu-architecture=compute_90")
    if file in {"route", "exit_confidence", "halt"}:
        assert "fma.rn.f32" in contracted  # so the option is what keeps it out


@needs_nvrtc
def test_a_broken_source_does_not_compile() -> None:
    broken = source("halt").replace("floored(-fabsf(x))", "floored(-fabsf(x)")
    code, _, log = nvrtc.compile_source(broken, *OPTIONS, "--gpu-architecture=sm_90")
    assert code != 0
    assert "halt.cu(" in log


def test_sources_include_nothing() -> None:
    for file in FILES:
        assert not re.search(r"^\s*#\s*include", source(file), re.MULTILINE)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
@pytest.mark.parametrize("file", FILES)
def test_nvcc_agrees_about_registers(file: str, tmp_path: Path) -> None:
    path = tmp_path / f"{file}.cu"
    path.write_text(source(file))
    options = ("-arch=sm_90", "-cubin", "-fmad=false", "-Xptxas", "-v", "-o", "/dev/null")
    done = subprocess.run(
        ["nvcc", *options, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    check_report(done.stdout + done.stderr, file)

"""The kernels' sources and how they are compiled: the one table of them."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Final, NamedTuple

OPTIONS: Final = ("--std=c++17", "--fmad=false")
"""For NVRTC. Contraction would round differently from the reference; fast mathematics is off."""
ARCHITECTURES: Final = ("sm_80", "sm_90", "sm_100")
"""Those for which every kernel is known to compile."""
CAPABILITY_MIN: Final = 80
"""Compute capability times ten: reductions over a warp in one instruction came with 8.0."""


class Kernel(NamedTuple):
    """A kernel and what it may use."""

    file: str
    threads: int
    """Threads of a block."""
    registers_max: int
    """For each thread: so that a multiprocessor's 65,536 hold 2,048 threads, or 1,536."""


KERNELS: Final = {
    "route": Kernel("route", 256, 32),
    "sort_by_expert": Kernel("sort_by_expert", 1024, 32),
    "exit_confidence_narrow_fp32": Kernel("exit_confidence", 256, 32),
    "exit_confidence_narrow_bf16": Kernel("exit_confidence", 256, 32),
    "exit_confidence_wide_fp32": Kernel("exit_confidence", 256, 42),
    "exit_confidence_wide_bf16": Kernel("exit_confidence", 256, 42),
    "halt": Kernel("halt", 1024, 32),
    "select_within_budget": Kernel("select_within_budget", 256, 42),
}
FILES: Final = tuple(sorted({kernel.file for kernel in KERNELS.values()}))


@cache
def source(file: str) -> str:
    """What is compiled for the kernels of this file: the common part, then the file."""
    folder = resources.files(__package__)
    return "".join(
        f'#line 1 "{name}"\n{folder.joinpath(name).read_text()}'
        for name in ("common.cuh", f"{file}.cu")
    )

"""The kernels' sources, unmodified, as a library that runs on this CPU, and a launcher for it."""

from __future__ import annotations

import ctypes
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np

from worker.model.kernels.sources import FILES, KERNELS, source

SHIM: Final = Path(__file__).with_name("cuda_on_cpu.hpp")
COMPILER: Final = "g++"
# As NVRTC is told: nothing may be contracted or reordered. The kernels read bytes as wider words,
# and fibres jump from stack to stack, which a fortified longjmp takes for an attack.
FLAGS: Final = (
    "-std=c++20",
    "-O1",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-shared",
    "-fPIC",
)


def build(folder: Path) -> dict[str, ctypes.CDLL]:
    """Compile every file; returns the library of each."""

    def one(file: str) -> ctypes.CDLL:
        names = [name for name, kernel in KERNELS.items() if kernel.file == file]
        return compile_library(folder, file, source(file), names)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(FILES, pool.map(one, FILES), strict=True))


def compile_library(folder: Path, name: str, text: str, kernels: list[str]) -> ctypes.CDLL:
    """Compile CUDA C for the CPU, with an entry `cpu_KERNEL` for each of its kernels."""
    entries = "".join(
        f'extern "C" const char* cpu_{kernel}(void** arguments, unsigned blocks,\n'
        f"    unsigned threads, unsigned long long seed) {{\n"
        f"    return cpu::launch({kernel}, arguments, blocks, threads, seed);\n}}\n"
        for kernel in kernels
    )
    path = folder / f"{name}.cpp"
    path.write_text(f'#include "{SHIM}"\n{text}\n#line 1 "entries"\n{entries}')
    library = path.with_suffix(".so")
    subprocess.run([COMPILER, *FLAGS, str(path), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def call(
    library: ctypes.CDLL, kernel: str, blocks: int, threads: int, values: list[Any], seed: int
) -> str:
    """Run a kernel to its end; returns what went wrong with its threads, or nothing."""
    entry = getattr(library, f"cpu_{kernel}")
    entry.restype = ctypes.c_char_p
    entry.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_ulonglong]
    addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
    failure: bytes = entry(addresses, blocks, threads, seed)
    return failure.decode()


class CpuLauncher:
    """A `Launcher` on NumPy arrays; a seed decides in which order threads and blocks run."""

    def __init__(self, libraries: dict[str, ctypes.CDLL], seed: int = 1) -> None:
        self._libraries = libraries
        self.seed = seed
        self.kept = np.zeros(0, np.int32)

    def launch(self, name: str, blocks: int, arguments: tuple[Any, ...]) -> None:
        """Run the kernel to its end.

        Raises:
            AssertionError: its threads wait for each other for ever, or part ways within a warp.
        """
        values = [_value(argument) for argument in arguments]
        kernel = KERNELS[name]
        library = self._libraries[kernel.file]
        failure = call(library, name, blocks, kernel.threads, values, self.seed)
        assert not failure, f"{name}: {failure}"

    def counters(self, like: np.ndarray, words: int) -> np.ndarray:
        """See `Launcher`; that kernels leave them zero is checked each time."""
        assert not self.kept.any(), "a kernel left a counter that is not zero"
        if len(self.kept) < words:
            self.kept = np.zeros(words, np.int32)
        return self.kept


def _value(argument: Any) -> Any:
    if isinstance(argument, np.ndarray):
        assert argument.flags.c_contiguous
        return ctypes.c_void_p(argument.ctypes.data)
    return np.ctypeslib.as_ctypes_type(argument.dtype)(argument.item())

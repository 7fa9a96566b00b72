"""Launch the kernels on a GPU with CuPy, on arrays of torch or CuPy, on their current stream.

Sources are compiled by NVRTC when they are first needed, for the device at hand, and kept as files
in the user's cache. CuPy's own compilation would add -ftz=true, which flushes small numbers to zero
and so differs from the reference; therefore NVRTC is called here and CuPy loads the result.

Memory is shared, never copied: a kernel gets the address of a torch tensor or CuPy array (for bf16,
which it reads as bits, too), and results are arrays of the caller's library.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from worker.model.gate_reference import library
from worker.model.gate_types import Array
from worker.model.kernels.host import Kernels
from worker.model.kernels.sources import CAPABILITY_MIN, FILES, KERNELS, OPTIONS, source


class KernelsMissing(RuntimeError):
    """This machine cannot run the kernels; the message says why."""


@cache
def missing() -> str:
    """Why no kernel can run on this machine; empty where all are loaded and ready."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed (extra: cuda12 or cuda13)"
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no CUDA device: {error}"
    try:
        load()
    except KernelsMissing as error:
        return str(error)
    return ""


def load() -> None:
    """Compile and load every kernel for the current device, as must be done before a CUDA graph.

    Raises:
        KernelsMissing: the device is too old, or NVRTC is not there or cannot compile for it.
    """
    import cupy

    architecture = _architecture(cupy.cuda.Device().id)
    capability = int(architecture.removeprefix("sm_"))
    if capability < CAPABILITY_MIN:
        raise KernelsMissing(
            f"the device has compute capability {capability / 10}, "
            f"the kernels need {CAPABILITY_MIN / 10}"
        )
    try:
        # The first attribute that is asked for loads a module onto the current device.
        assert all(_function(name, architecture).num_regs > 0 for name in KERNELS)
    except cupy.cuda.driver.CUDADriverError as error:
        raise KernelsMissing(f"the driver cannot load what NVRTC compiled: {error}") from error


@cache
def kernels() -> Kernels:
    """The kernels of this process; ask `missing` first."""
    return Kernels(CupyLauncher())


class CupyLauncher:
    """A `Launcher` on the current stream of the library that the arrays belong to."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, int, int], Array] = {}

    def launch(self, name: str, blocks: int, arguments: tuple[Any, ...]) -> None:
        """Start a kernel on the device of its first argument."""
        import cupy

        _, device, stream = _place(arguments[0])
        values = tuple(_value(argument) for argument in arguments)
        with cupy.cuda.Device(device), cupy.cuda.Stream.from_external(_Stream(stream)):
            kernel = _function(name, _architecture(device))
            kernel((blocks,), (KERNELS[name].threads,), values)

    def counters(self, like: Array, words: int) -> Array:
        """See `Launcher`; one set for each stream. A CUDA graph should be given its own."""
        place = _place(like)
        kept = self._counters.get(place)
        if kept is None or kept.shape[0] < words:
            kept = self._counters[place] = _zeros(like, max(words, 1024))
        return kept


class _Stream:
    """A stream's address, in the form of CUDA's stream protocol."""

    def __init__(self, address: int) -> None:
        self._address = address

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._address


def _place(array: Array) -> tuple[str, int, int]:
    """Library, device and the address of the current stream."""
    if library(array) == "torch":
        import torch

        return "torch", array.device.index, torch.cuda.current_stream(array.device).cuda_stream
    import cupy

    return "cupy", array.device.id, cupy.cuda.get_current_stream().ptr


def _value(argument: Any) -> Any:
    if hasattr(argument, "data_ptr"):
        return argument.data_ptr()
    return argument.data.ptr if hasattr(argument.data, "ptr") else argument


def _zeros(like: Array, words: int) -> Array:
    if library(like) == "torch":
        import torch

        return torch.zeros(words, dtype=torch.int32, device=like.device)
    import cupy

    return cupy.zeros(words, dtype="int32")


@cache
def _architecture(device: int) -> str:
    import cupy

    return f"sm_{cupy.cuda.Device(device).compute_capability}"


@cache
def _function(name: str, architecture: str) -> Any:
    return _module(KERNELS[name].file, architecture).get_function(name)


@cache
def _module(file: str, architecture: str) -> Any:
    import cupy

    assert file in FILES
    return cupy.RawModule(path=str(_cubin(file, architecture)))


def _cubin(file: str, architecture: str) -> Path:
    """The compiled file, out of the cache or made now."""
    from cupy.cuda import nvrtc

    try:
        version = nvrtc.getVersion()
    except (ImportError, OSError, RuntimeError) as error:
        raise KernelsMissing(f"no NVRTC, the run-time compiler: {error}") from error
    text = source(file)
    key = repr((version, OPTIONS, architecture, text)).encode()
    path = cache_folder() / f"{file}-{architecture}-{hashlib.sha256(key).hexdigest()[:32]}.cubin"
    if not path.is_file():
        compiled = _compiled(file, text, architecture)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another process may be writing the same file: the last one to finish wins, whole.
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as whole:
            whole.write(compiled)
        Path(whole.name).replace(path)
    return path


def _compiled(file: str, text: str, architecture: str) -> bytes:
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(text, f"{file}.cu", (), ())
    try:
        nvrtc.compileProgram(program, (*OPTIONS, f"--gpu-architecture={architecture}"))
        compiled: bytes = nvrtc.getCUBIN(program)
    except nvrtc.NVRTCError as error:
        log = nvrtc.getProgramLog(program)
        raise KernelsMissing(f"NVRTC cannot compile {file}.cu: {error}: {log}") from error
    finally:
        nvrtc.destroyProgram(program)
    return compiled


def cache_folder() -> Path:
    """Where compiled kernels are kept: $XDG_CACHE_HOME/flopex/kernels, ~/.cache by default."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "flopex" / "kernels"

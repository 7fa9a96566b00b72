"""NVRTC through ctypes: the run-time compiler that CuPy uses, without CuPy, driver or GPU."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from pathlib import Path


@cache
def library() -> ctypes.CDLL | None:
    """NVRTC from the wheel nvidia-cuda-nvrtc; None where that is not installed."""
    spec = importlib.util.find_spec("nvidia")
    for place in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(place).glob("*/lib/libnvrtc.so.*")):
            return ctypes.CDLL(str(path))
    return None


def compile_source(text: str, *options: str) -> tuple[int, bytes, str]:
    """Compile; returns NVRTC's result code (0 is success), the cubin and the log."""
    code, cubin, log = _compile(text, options, "CUBIN")
    return code, cubin, log.rstrip(b"\0").decode()


def ptx(text: str, *options: str) -> tuple[int, str]:
    """Compile for a virtual architecture; returns the result code and the assembly."""
    code, assembly, _ = _compile(text, options, "PTX")
    return code, assembly.rstrip(b"\0").decode()


def _compile(text: str, options: tuple[str, ...], what: str) -> tuple[int, bytes, bytes]:
    nvrtc = library()
    assert nvrtc is not None
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None)
    try:
        encoded = [option.encode() for option in options]
        pointers = (ctypes.c_char_p * len(encoded))(*encoded)
        code: int = nvrtc.nvrtcCompileProgram(program, len(encoded), pointers)
        result = _output(nvrtc, what, program) if code == 0 else b""
        return code, result, _output(nvrtc, "ProgramLog", program)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _output(nvrtc: ctypes.CDLL, what: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{what}")(program, buffer)
    return buffer.raw

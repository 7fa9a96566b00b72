"""Launch the kernels with CuPy."""

from __future__ import annotations


def missing() -> str:
    """Why no kernel can run on this machine; empty where all can."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed (extra: cuda12 or cuda13)"
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no CUDA device: {error}"
    try:
        cupy.cuda.nvrtc.getVersion()
    except (ImportError, RuntimeError) as error:
        return f"no NVRTC, the run-time compiler: {error}"
    return ""

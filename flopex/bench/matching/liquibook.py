"""Building the driver of liquibook (C++) against a checkout that the reader names.

Nothing of liquibook is in this repository: `liquibook.cpp` is ours and includes its headers.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("liquibook.cpp")
FLAGS: Final = ("-std=c++17", "-O3", "-march=native")
COMPILE_S_MAX: Final = 300


class LiquibookError(Exception):
    """The driver cannot be built. Says why."""


def build(checkout: Path, folder: Path) -> Path:
    """Compile the driver into a folder; the program.

    Args:
        checkout: A checkout of liquibook, or its folder `src`.
        folder: Where the program goes.

    Raises:
        LiquibookError: the headers are not there, or the compiler is absent or refuses.
    """
    for include in (checkout / "src", checkout):
        if (include / "book" / "depth_order_book.h").is_file():
            break
    else:
        msg = f"{checkout} has no src/book/depth_order_book.h: it is no checkout of liquibook"
        raise LiquibookError(msg)
    program = folder / "liquibook"
    command = ["g++", *FLAGS, f"-I{include}", str(SOURCE), "-o", str(program)]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=COMPILE_S_MAX
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"g++ cannot be run: {error}"
        raise LiquibookError(msg) from error
    if done.returncode:
        msg = f"g++ refuses: {done.stderr.strip().splitlines()[:1]}"
        raise LiquibookError(msg)
    return program


def revision(checkout: Path) -> str:
    """The checkout's commit, or '' where git does not know it."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

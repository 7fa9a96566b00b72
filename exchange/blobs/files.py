"""Small durable files: written, synced and named in an order that a crash cannot confuse."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

PRIVATE_FILE: Final = 0o600
PRIVATE_DIRECTORY: Final = 0o700
UNFINISHED_SUFFIX: Final = ".new"


def sync_directory(directory: Path) -> None:
    """Return once the folder's names are on stable storage."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Make a folder and its parents, for their owner only; an existing one is left as it is."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(PRIVATE_DIRECTORY, exist_ok=True)
    sync_directory(directory.parent)


def write_synced(path: Path, data: bytes, *, in_place: bool = False) -> None:
    """Write a file and sync its bytes, not its name.

    Args:
        path: For their owner only.
        data: All of the file.
        in_place: Overwrite the same blocks of an existing file.
    """
    flags = os.O_WRONLY | os.O_CLOEXEC | (0 if in_place else os.O_CREAT | os.O_TRUNC)
    descriptor = os.open(path, flags, PRIVATE_FILE)
    try:
        view = memoryview(data)
        written = 0
        while written < len(data):
            written += os.pwrite(descriptor, view[written:], written)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_named(path: Path, data: bytes) -> None:
    """Write a file that has its name only once it is whole; on return it is durable."""
    unfinished = path.with_name(path.name + UNFINISHED_SUFFIX)
    write_synced(unfinished, data)
    unfinished.replace(path)
    sync_directory(path.parent)

"""Copies of single files, made before what was copied is removed or replaced."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from exchange.journal.files import OsFileSystem
from exchange.journal.segment import UNFINISHED_SUFFIX


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, over an older copy; on return it is durable, name and all, and was read back.

    Raises:
        OSError: a file cannot be read or written, or the copy is not what was copied.
    """
    unfinished = target.with_suffix(UNFINISHED_SUFFIX)
    shutil.copyfile(source, unfinished)
    with unfinished.open("rb+") as file:
        os.fsync(file.fileno())
    if file_digest(unfinished) != file_digest(source):
        raise OSError(f"{unfinished} is not what was copied")
    unfinished.replace(target)
    OsFileSystem().sync_directory(target.parent)


def file_digest(path: Path) -> bytes:
    """SHA-256 of a file's bytes.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()

"""The worker's own key: Ed25519, kept in its data directory, readable by its user only."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exchange.metering import signing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_FILE: Final = "worker.key"
KEY_BYTES: Final = 32


class IdentityError(Exception):
    """The key file cannot be used; the text says what to do."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """The key with which a worker signs; `private_key` is never shown."""

    private_key: bytes = dataclasses.field(repr=False)
    public_key: bytes

    @cached_property
    def _loaded(self) -> Ed25519PrivateKey:
        return signing.load(self.private_key)

    def sign(self, data: bytes) -> bytes:
        """A signature, 64 bytes."""
        return self._loaded.sign(data)


@contextlib.contextmanager
def open_identity(directory: Path) -> Iterator[Identity]:
    """The key in this directory, made where there is none; held against a second worker.

    Raises:
        IdentityError: the file is not a key, others can read it, or another worker uses it; the
            directory or the file cannot be used at all.
    """
    with _lock(directory):
        yield _load(directory / KEY_FILE)


@contextlib.contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """The directory, not the key: two workers that start at once must not both make one."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise IdentityError(f"cannot use {directory} as a data directory: {error}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise IdentityError(f"another worker uses {directory}") from error
        yield
    finally:
        os.close(descriptor)


def _load(path: Path) -> Identity:
    try:
        if not path.exists():
            _create(path)
        if path.stat().st_mode & 0o077:
            raise IdentityError(f"others can read {path}: run chmod 600 on it")
        return _parse(path, path.read_bytes())
    except OSError as error:
        raise IdentityError(f"cannot use {path}: {error}") from error


def _parse(path: Path, text: bytes) -> Identity:
    try:
        private_key = bytes.fromhex(text.decode().strip())
        return Identity(private_key, signing.public_key(private_key))
    except ValueError as error:
        raise IdentityError(
            f"{path} does not hold a key of {KEY_BYTES} bytes; restore it, or remove it and "
            "register under a new name"
        ) from error


def _create(path: Path) -> None:
    """Write a new key so that a crash leaves either all of it or nothing."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(signing.generate_key().hex().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

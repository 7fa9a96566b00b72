"""Signed receipts on disk, so that a worker that is killed is still paid for what it finished.

A receipt is kept with the output that it vouches for, since the exchange may have missed some of
it. It lies in the worker's data directory from before it is first sent until it is answered, and
is sent again after a restart. One file for each lease, for the worker's own user only.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from exchange.v1 import worker_service_pb2 as pb

FOLDER: Final = "receipts"
SUFFIX: Final = ".receipt"
DRAFT_SUFFIX: Final = ".new"
_LENGTH: Final = struct.Struct("<I")

log: Final = logging.getLogger("flopex.worker")


class Spool:
    """Keeps receipts, each with its chunks, in a folder of the worker's data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER

    def keep(self, receipt: pb.Receipt, chunks: Sequence[pb.Chunk]) -> None:
        """Write a receipt; durable on return.

        Raises:
            OSError: it could not be written.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._path(receipt.lease_id, receipt.fence)
        draft = path.with_suffix(DRAFT_SUFFIX)
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for message in (receipt, *chunks):
                    data = message.SerializeToString()
                    file.write(_LENGTH.pack(len(data)) + data)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
        except OSError:
            # On a full disk it would take what is left.
            draft.unlink(missing_ok=True)
            raise
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def forget(self, lease_id: int, fence: pb.Fence) -> None:
        """The receipt was answered, or its lease is not ours any more."""
        with contextlib.suppress(OSError):
            self._path(lease_id, fence).unlink()

    def kept(self) -> list[tuple[pb.Receipt, list[pb.Chunk]]]:
        """What is there, oldest lease first; a file that cannot be read is left for its owner.

        For the start of a process: what an earlier one did not finish writing is removed.
        """
        for draft in self._folder.glob(f"*{DRAFT_SUFFIX}"):
            with contextlib.suppress(OSError):
                draft.unlink()
        found = []
        for path in self._folder.glob(f"*{SUFFIX}"):
            try:
                receipt, *chunks = _messages(path.read_bytes())
                found.append((pb.Receipt.FromString(receipt), [*map(pb.Chunk.FromString, chunks)]))
            except (OSError, ValueError, DecodeError) as error:
                log.error("%s is not a receipt with its output: %s", path, error)
        return sorted(found, key=lambda kept: kept[0].lease_id)

    def _path(self, lease_id: int, fence: pb.Fence) -> Path:
        return self._folder / f"{lease_id}-{fence.epoch}-{fence.sequence}{SUFFIX}"


def _messages(data: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(data):
        head = data[position : position + _LENGTH.size]
        if len(head) < _LENGTH.size:
            raise ValueError("it ends within a length")
        position += _LENGTH.size
        (length,) = _LENGTH.unpack(head)
        if position + length > len(data):
            raise ValueError("it ends within a message")
        yield data[position : position + length]
        position += length

"""A write that the kernel does while the caller goes on: io_submit(2), one at a time.

The C library has no functions for these calls, so they are made by number (io_setup(2) has the
structures). Only what bypasses the page cache (O_DIRECT) is written meanwhile; anything else the
call itself would wait for.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import sys
from typing import Final

_X86 = {"setup": 206, "destroy": 207, "getevents": 208, "submit": 209}
_GENERIC = {"setup": 0, "destroy": 1, "submit": 2, "getevents": 4}
_NUMBERS: Final = {"x86_64": _X86, "aarch64": _GENERIC, "riscv64": _GENERIC}
"""Of the system calls, by machine."""
_PWRITE: Final = 1


class _Request(ctypes.Structure):
    """`struct iocb` of a little-endian machine."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("flags", ctypes.c_int32),
        ("operation", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("descriptor", ctypes.c_uint32),
        ("address", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("more_flags", ctypes.c_uint32),
        ("event_descriptor", ctypes.c_uint32),
    )


class _Event(ctypes.Structure):
    """`struct io_event`."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("request", ctypes.c_uint64),
        ("result", ctypes.c_int64),
        ("more", ctypes.c_int64),
    )


class OverlappedWrite:
    """A context for one write at a time; `lend` and `give_back` keep one for the next segment.

    Raises:
        OSError: ENOSYS where the system has no such calls, EAGAIN where it lends out no more
            contexts (/proc/sys/fs/aio-max-nr), EPERM where a sandbox forbids them.
    """

    def __init__(self) -> None:
        numbers = _NUMBERS.get(platform.machine()) if sys.platform == "linux" else None
        if numbers is None or sys.byteorder != "little" or sys.maxsize < 1 << 32:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._numbers = numbers
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._call.restype = ctypes.c_long
        self._context = ctypes.c_ulong(0)
        self._request = _Request(operation=_PWRITE)
        self._requests = (ctypes.POINTER(_Request) * 1)(ctypes.pointer(self._request))
        self._event = _Event()
        self._under_way = False
        self._check(self._system("setup", ctypes.c_uint(1), ctypes.byref(self._context)))

    def begin(self, descriptor: int, address: int, size: int, offset: int) -> None:
        """Hand a write over. The memory must stay as it is until `finish`.

        Args:
            descriptor: Open for direct writes.
            address: Of the memory, as direct writes want it aligned.
            size: In bytes.
            offset: In the file, in bytes.

        Raises:
            OSError: Nothing was handed over.
        """
        assert not self._under_way, "one write at a time"
        request = self._request
        request.descriptor = descriptor
        request.address, request.size, request.offset = address, size, offset
        self._check(self._system("submit", self._context, ctypes.c_long(1), self._requests))
        self._under_way = True

    def finish(self) -> int:
        """Wait for the write; how many bytes were taken.

        Raises:
            OSError: It failed.
        """
        assert self._under_way, "no write was begun"
        one = ctypes.c_long(1)
        while (
            got := self._system(
                "getevents", self._context, one, one, ctypes.byref(self._event), None
            )
        ) != 1:
            if got < 0 and ctypes.get_errno() != errno.EINTR:
                self._check(got)
        self._under_way = False
        result: int = self._event.result
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    def settle(self) -> None:
        """Wait for a write under way, whatever becomes of it."""
        if self._under_way:
            with contextlib.suppress(OSError):
                self.finish()

    def _system(self, name: str, *arguments: object) -> int:
        result: int = self._call(ctypes.c_long(self._numbers[name]), *arguments)
        return result

    def _check(self, result: int) -> None:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


_spare: dict[int, list[OverlappedWrite]] = {}
"""By process: a context is the memory's, and a child has another. Few: one for each open journal.

Destroying one takes 30 ms and more, which a group that begins a segment would wait for. They end
with the process.
"""


def lend() -> OverlappedWrite:
    """A context that nobody uses.

    Raises:
        OSError: As `OverlappedWrite`.
    """
    spare = _spare.get(os.getpid())
    return spare.pop() if spare else OverlappedWrite()


def give_back(write: OverlappedWrite) -> None:
    """Let the next journal, or segment, have it; waits for a write under way."""
    write.settle()
    _spare.setdefault(os.getpid(), []).append(write)

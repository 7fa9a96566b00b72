"""A timer that keeps to microseconds.

The event loop's own timers end at whole milliseconds (epoll's unit), which is several times as long
as a sync. Linux has timers that are files (timerfd_create(2)); the loop waits for one of those as
it does for a socket. Python's own functions for them came with 3.13; these are the C library's.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from typing import Final, Self

from exchange.core.limits import NS_PER_S

FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
"""TFD_NONBLOCK and TFD_CLOEXEC have their values."""
EXPIRATIONS_BYTES: Final = 8
"""What is read of it once it has run out: how many times it has."""

_libc: Final = ctypes.CDLL(None, use_errno=True)


class _Setting(ctypes.Structure):
    """`struct itimerspec`: how often it runs out again (never), and in how long it does first."""

    _fields_ = (
        ("again_s", ctypes.c_long),
        ("again_ns", ctypes.c_long),
        ("first_s", ctypes.c_long),
        ("first_ns", ctypes.c_long),
    )


class FineTimer:
    """One timer in an event loop, for one task at a time. Use `FineTimer.open`, then `close`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
        self._loop = loop
        self._descriptor = descriptor
        self._setting = _Setting()
        self._setting_pointer = ctypes.byref(self._setting)
        self._waiter: asyncio.Future[None] | None = None

    @classmethod
    def open(cls, loop: asyncio.AbstractEventLoop) -> Self | None:
        """A timer; None where the system or the loop has no such thing."""
        try:
            descriptor = _libc.timerfd_create(time.CLOCK_MONOTONIC, FLAGS)
        except AttributeError:
            return None
        if descriptor < 0:
            return None
        timer = cls(loop, descriptor)
        try:
            loop.add_reader(descriptor, timer._run_out)
        except NotImplementedError:
            os.close(descriptor)
            return None
        return timer

    async def sleep(self, ns: int) -> None:
        """Return after so many nanoseconds, at least one, or a little later."""
        setting = self._setting
        setting.first_s, setting.first_ns = divmod(ns, NS_PER_S)
        if _libc.timerfd_settime(self._descriptor, 0, self._setting_pointer, None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        self._waiter = self._loop.create_future()
        await self._waiter

    def close(self) -> None:
        """Give the file back; more than once is allowed."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _run_out(self) -> None:
        try:
            os.read(self._descriptor, EXPIRATIONS_BYTES)
        except BlockingIOError:
            return  # It was set anew after the loop had seen it run out.
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

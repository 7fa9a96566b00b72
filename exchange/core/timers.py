"""Timers: what is due fires in (due time, kind, id) order, driven by Advance alone."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final

from matching.columns import count_of, pack, unpack


class TimerKind(IntEnum):
    """What a timer is for; the numbers decide the order at equal times."""

    LEASE_STEP = 1  # accept_by while offered, start_by while accepted
    LEASE_SETTLE = 2
    QUOTE_EXPIRY = 3
    ORDER_EXPIRY = 4
    JOB_INFEASIBLE = 5
    UNCROSS = 6
    JOB_FORGET = 7
    AUCTION_END = 8


_KINDS: Final = {int(kind): kind for kind in TimerKind}

TimerKey = tuple[TimerKind, int]

COMPACT_AT_LEAST = 1_024
"""Below this many heap entries stale ones are not worth removing."""


class Timers:
    """One due time per (kind, id). Set and cancel O(log n), stale entries skipped when popped."""

    def __init__(self) -> None:
        self._due: dict[TimerKey, int] = {}
        self._heap: list[tuple[int, TimerKind, int]] = []

    def set(self, kind: TimerKind, ident: int, due_ns: int) -> None:
        """Arm a timer, or move it."""
        if self._due.get((kind, ident)) == due_ns:
            return
        self._due[kind, ident] = due_ns
        heapq.heappush(self._heap, (due_ns, kind, ident))
        if len(self._heap) > max(COMPACT_AT_LEAST, 2 * len(self._due)):
            self._rebuild()

    def cancel(self, kind: TimerKind, ident: int) -> None:
        """Disarm a timer, if it is armed."""
        self._due.pop((kind, ident), None)

    def due_ns(self, kind: TimerKind, ident: int) -> int | None:
        """When a timer fires, or None."""
        return self._due.get((kind, ident))

    def next_ns(self) -> int | None:
        """The earliest due time, or None."""
        self._drop_stale()
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now_ns: int) -> TimerKey | None:
        """The next timer that is due, disarmed; None where none is."""
        self._drop_stale()
        if not self._heap or self._heap[0][0] > now_ns:
            return None
        _, kind, ident = heapq.heappop(self._heap)
        del self._due[kind, ident]
        return kind, ident

    def extend(self, kinds: frozenset[TimerKind], by_ns: int) -> None:
        """Move every timer of these kinds later."""
        for kind, ident in self._due:
            if kind in kinds:
                self._due[kind, ident] += by_ns
        self._rebuild()

    def _drop_stale(self) -> None:
        heap = self._heap
        while heap and self._due.get((heap[0][1], heap[0][2])) != heap[0][0]:
            heapq.heappop(heap)

    def _rebuild(self) -> None:
        self._heap = [(due, kind, ident) for (kind, ident), due in self._due.items()]
        heapq.heapify(self._heap)

    def check(self) -> None:
        """Every armed timer is in the heap."""
        entries = set(self._heap)
        assert all((due, *key) in entries for key, due in self._due.items())

    def state(self) -> tuple[object, ...]:
        """Canonical state: columns of due times, kinds and ids, in the order of firing."""
        armed = sorted((due, kind, ident) for (kind, ident), due in self._due.items())
        if not armed:
            return (b"", b"", b"")
        dues, kinds, idents = zip(*armed, strict=True)
        return (pack(dues), pack(kinds), pack(idents, collapse=False))

    def restore(self, state: Sequence[Any]) -> None:
        """Become what `state` said."""
        dues, kinds, idents = state
        count = count_of(idents)
        columns = (unpack(dues, count), unpack(kinds, count), unpack(idents, count))
        self._heap = [(due, _KINDS[kind], ident) for due, kind, ident in zip(*columns, strict=True)]
        heapq.heapify(self._heap)
        self._due = {(kind, ident): due for due, kind, ident in self._heap}

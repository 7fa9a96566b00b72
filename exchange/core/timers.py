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


_IDENT_BITS: Final = 63
_IDENT: Final = (1 << _IDENT_BITS) - 1
"""Of a heap's entry; above it stands the due time."""


class KindTimers:
    """Timers of one kind: one due time per id. Set and pop O(log n) of the kind.

    Kinds do not share a heap: what fires in a day, of which there may be millions, costs the
    leases' timers nothing. An entry is one number, which is smaller than a pair and compared
    faster.

    Attributes:
        kind: What they are for.
        due: When each fires that is armed, by id.
        heap: Their entries, and those of what was moved or disarmed; the first is always armed.
        first_ns: When the first fires; 0 where none is armed.
    """

    __slots__ = ("due", "first_ns", "heap", "kind")

    def __init__(self, kind: TimerKind) -> None:
        self.kind = kind
        self.due: dict[int, int] = {}
        self.heap: list[int] = []
        self.first_ns = 0

    def set(self, ident: int, due_ns: int) -> None:
        """Arm one, or move it. The due time is positive: 0 stands for none."""
        assert due_ns > 0
        before_ns = self.due.get(ident)
        if before_ns == due_ns:
            return
        self.due[ident] = due_ns
        heapq.heappush(self.heap, due_ns << _IDENT_BITS | ident)
        if before_ns == self.first_ns or not self.first_ns or due_ns < self.first_ns:
            self._find_first()
        self._compact()

    def cancel(self, ident: int) -> None:
        """Disarm one, if it is armed."""
        due_ns = self.due.pop(ident, None)
        if due_ns is not None:
            if due_ns == self.first_ns:
                self._find_first()
            self._compact()

    def pop(self) -> int:
        """Disarm the first; its id."""
        ident = heapq.heappop(self.heap) & _IDENT
        del self.due[ident]
        self._find_first()
        return ident

    def _find_first(self) -> None:
        """Let stale entries before the first that is armed go."""
        heap, due = self.heap, self.due
        while heap:
            due_ns = heap[0] >> _IDENT_BITS
            if due.get(heap[0] & _IDENT) == due_ns:
                self.first_ns = due_ns
                return
            heapq.heappop(heap)
        self.first_ns = 0

    def _compact(self) -> None:
        """Keep what is not armed any more to half of the heap."""
        if len(self.heap) > max(COMPACT_AT_LEAST, 2 * len(self.due)):
            self.rebuild()

    def rebuild(self) -> None:
        """Make the heap anew of what is armed."""
        self.heap = [due_ns << _IDENT_BITS | ident for ident, due_ns in self.due.items()]
        heapq.heapify(self.heap)
        self._find_first()


class Timers:
    """One due time per (kind, id)."""

    def __init__(self) -> None:
        self._kinds = {kind: KindTimers(kind) for kind in TimerKind}
        self._in_order = list(self._kinds.values())

    def set(self, kind: TimerKind, ident: int, due_ns: int) -> None:
        """Arm a timer, or move it."""
        self._kinds[kind].set(ident, due_ns)

    def cancel(self, kind: TimerKind, ident: int) -> None:
        """Disarm a timer, if it is armed."""
        self._kinds[kind].cancel(ident)

    def due_ns(self, kind: TimerKind, ident: int) -> int | None:
        """When a timer fires, or None."""
        return self._kinds[kind].due.get(ident)

    def next_ns(self) -> int | None:
        """The earliest due time, or None."""
        first = self._first()
        return None if first is None else first.first_ns

    def pop_due(self, now_ns: int) -> TimerKey | None:
        """The next timer that is due, disarmed; None where none is."""
        first = self._first()
        if first is None or first.first_ns > now_ns:
            return None
        return first.kind, first.pop()

    def _first(self) -> KindTimers | None:
        """The kind that fires next: of those at one time, the first by number."""
        first: KindTimers | None = None
        for timers in self._in_order:
            if timers.first_ns and (first is None or timers.first_ns < first.first_ns):
                first = timers
        return first

    def extend(self, kinds: frozenset[TimerKind], by_ns: int) -> None:
        """Move every timer of these kinds later."""
        for timers in self._in_order:
            if timers.kind in kinds:
                for ident in timers.due:
                    timers.due[ident] += by_ns
                timers.rebuild()

    def check(self) -> None:
        """Every armed timer is in its kind's heap, and the first of them in front."""
        for timers in self._in_order:
            entries = set(timers.heap)
            assert all(
                due_ns << _IDENT_BITS | ident in entries for ident, due_ns in timers.due.items()
            )
            assert timers.first_ns == min(timers.due.values(), default=0)

    def state(self) -> tuple[object, ...]:
        """Canonical state: columns of due times, kinds and ids, in the order of firing."""
        armed = sorted(
            (due_ns, timers.kind, ident)
            for timers in self._in_order
            for ident, due_ns in timers.due.items()
        )
        if not armed:
            return (b"", b"", b"")
        dues, kinds, idents = zip(*armed, strict=True)
        return (pack(dues), pack(kinds), pack(idents, collapse=False))

    def restore(self, state: Sequence[Any]) -> None:
        """Become what `state` said."""
        dues, kinds, idents = state
        count = count_of(idents)
        columns = (unpack(dues, count), unpack(kinds, count), unpack(idents, count))
        for timers in self._in_order:
            timers.due = {}
        for due_ns, kind, ident in zip(*columns, strict=True):
            self._kinds[_KINDS[kind]].due[ident] = due_ns
        for timers in self._in_order:
            timers.rebuild()

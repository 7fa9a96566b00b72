"""Two object graphs compared attribute by attribute, so that nothing can be forgotten in either."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from sortedcontainers import SortedList

_PLAIN: Final = (int, str, bytes, bytearray, type(None))


def attributes(found: object) -> dict[str, Any]:
    """Every attribute of an object that is set, in slots or not."""
    names: list[str] = []
    for kind in type(found).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
    values = {name: getattr(found, name) for name in names if hasattr(found, name)}
    return values | getattr(found, "__dict__", {})


class Comparison:
    """Walks two graphs side by side.

    Args:
        left_out: By class, the attributes that are no state.
        unordered: By class, the dictionaries in whose order nothing depends.

    Attributes:
        differences: Where the graphs differ, as paths; empty for equal graphs.
        seen: Each class that was met, with the attributes that were compared.
    """

    def __init__(
        self, left_out: Mapping[str, frozenset[str]], unordered: Mapping[str, frozenset[str]]
    ) -> None:
        self.differences: list[str] = []
        self.seen: dict[str, set[str]] = {}
        self._left_out = left_out
        self._unordered = unordered
        self._met: set[tuple[int, int]] = set()

    def compare(self, path: str, one: Any, two: Any) -> None:
        """Note every difference below a path."""
        pending: deque[tuple[str, Any, Any]] = deque([(path, one, two)])
        while pending:
            at, first, second = pending.popleft()
            if isinstance(first, int) and isinstance(second, int):  # an enum's member is its number
                if first != second:
                    self.differences.append(f"{at}: {first!r} is not {second!r}")
            elif type(first) is not type(second):
                self.differences.append(f"{at}: {type(first)} is not {type(second)}")
            elif isinstance(first, _PLAIN):
                if first != second:
                    self.differences.append(f"{at}: {first!r} is not {second!r}")
            elif (id(first), id(second)) not in self._met:
                self._met.add((id(first), id(second)))
                pending.extend(self._parts(at, first, second))

    def _parts(self, at: str, first: Any, second: Any) -> Iterator[tuple[str, Any, Any]]:
        if isinstance(first, list | tuple | deque | SortedList):
            if len(first) != len(second):
                self.differences.append(f"{at}: {len(first)} elements, not {len(second)}")
            for index, (one, two) in enumerate(zip(first, second, strict=False)):
                yield f"{at}[{index}]", one, two
        elif isinstance(first, set | frozenset):
            yield f"{at}{{}}", sorted(first), sorted(second)
        elif isinstance(first, dict):
            if first.keys() != second.keys():
                self.differences.append(f"{at}: keys {first.keys() ^ second.keys()}")
            for key in first.keys() & second.keys():
                yield f"{at}[{key!r}]", first[key], second[key]
        elif callable(first):
            names = getattr(first, "__qualname__", None), getattr(second, "__qualname__", None)
            if names[0] != names[1]:
                self.differences.append(f"{at}: {names[0]} is not {names[1]}")
        else:
            yield from self._attributes(at, first, second)

    def _attributes(self, at: str, first: Any, second: Any) -> Iterator[tuple[str, Any, Any]]:
        kind = type(first).__name__
        if isinstance(first, msgspec.Struct):
            yield at, msgspec.structs.astuple(first), msgspec.structs.astuple(second)
            return
        left_out = self._left_out.get(kind, frozenset())
        mine, theirs = attributes(first), attributes(second)
        if mine.keys() != theirs.keys():
            self.differences.append(f"{at}: attributes {mine.keys() ^ theirs.keys()}")
        seen = self.seen.setdefault(kind, set())
        for name in (mine.keys() & theirs.keys()) - left_out:
            seen.add(name)
            one, two = mine[name], theirs[name]
            free = name in self._unordered.get(kind, frozenset())
            if isinstance(one, dict) and not free and list(one) != list(two):
                self.differences.append(f"{at}.{name}: another order")
            yield f"{at}.{name}", one, two

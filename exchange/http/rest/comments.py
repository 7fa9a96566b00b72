"""The comments of the .proto files: what the compiled descriptors do not have.

The files keep to one form, which `buf lint` holds: a comment stands above everything that has a
name, and nothing else is on a comment's lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

PACKAGE: Final = "exchange.v1"
_BLOCK: Final = re.compile(r"(?:service|message|enum|oneof) (\w+) \{(\})?")
_NAMED: Final = re.compile(
    r"rpc (\w+)\(|(?:repeated |optional )?(?:map<[^>]+>|[\w.]+) (\w+) = \d+|(\w+) = \d+;"
)


def read_comments(texts: Iterable[str]) -> dict[str, str]:
    r"""The comment of everything that has a name, by its full name.

    The fields of a oneof are its message's.

    >>> read_comments(["// A box.\nmessage Box {\n  // Its size.\n  uint32 size = 1;\n}\n"])
    {'exchange.v1.Box': 'A box.', 'exchange.v1.Box.size': 'Its size.'}
    """
    found: dict[str, str] = {}
    for text in texts:
        _read(text, found)
    return found


def _read(text: str, found: dict[str, str]) -> None:
    scope: list[str] = []
    comment: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if line.startswith("//"):
            comment.append(line.removeprefix("//").strip())
            continue
        block, named = _BLOCK.match(line), _NAMED.match(line)
        if block is not None:
            name = block[1]
            found[_full(scope, name)] = " ".join(comment)
            if not block[2]:
                scope.append("" if line.startswith("oneof") else name)
        elif named is not None:
            found[_full(scope, named[1] or named[2] or named[3])] = " ".join(comment)
        elif line == "}":
            scope.pop()
        comment = []


def _full(scope: list[str], name: str) -> str:
    return ".".join(filter(None, (PACKAGE, *scope, name)))

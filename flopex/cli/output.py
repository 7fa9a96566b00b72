"""What commands print: for people with Rich, for programs as JSON.

With `--json` a query prints one object, a stream one object per line and last
`{"type": "summary", ...}`. Answers go to stdout; notes and errors to stderr.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.markup import escape

from flopex.cli.exits import CommandError

WIDTH_OF_FILES: Final = 160
"""Columns of tables that go into a file or a pipe."""


def plain(value: Any) -> Any:
    """A value as JSON can say it: enums by name in lower case, bytes as hexadecimal."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    return value


class Output:
    """Where one command's answers go.

    Attributes:
        json: Whether programs read them.
        console: stdout, for people.
        errors: stderr, for people.
    """

    def __init__(self, as_json: bool) -> None:
        self.json = as_json
        # A file or a pipe has no width: a table must not be cut there as if it had.
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH_OF_FILES
        self.console = Console(highlight=False, width=width)
        self.errors = Console(stderr=True, highlight=False, soft_wrap=True)

    def answer(self, value: Any, shown: RenderableType) -> None:
        """The answer of a query: one JSON object, or what people see."""
        if self.json:
            self.line(value)
        else:
            self.show(shown)

    def line(self, value: Any) -> None:
        """One JSON object on a line of its own, at once."""
        sys.stdout.write(json.dumps(plain(value), ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def summary(self, **values: Any) -> None:
        """The last line of a JSON stream; nothing for people."""
        if self.json:
            self.line({"type": "summary", **values})

    def text(self, text: str) -> None:
        """Text for people as it is, without a line end, at once; nothing with JSON."""
        if not self.json:
            sys.stdout.write(text)
            sys.stdout.flush()

    def show(self, shown: RenderableType) -> None:
        """Something for people on stdout; nothing with JSON."""
        if not self.json:
            # Paths and ids must stay whole, so that they can be copied.
            self.console.print(shown, soft_wrap=isinstance(shown, str))

    def note(self, text: str) -> None:
        """A remark for people on stderr; nothing with JSON."""
        if not self.json:
            self.errors.print(escape(text), style="dim")

    def error(self, error: CommandError) -> None:
        """Why the command failed, on stderr."""
        if self.json:
            body = {"reason": error.reason, "message": error.message, "hint": error.hint}
            sys.stderr.write(json.dumps({"error": body}, ensure_ascii=False) + "\n")
            return
        self.errors.print(f"[bold red]error[/]: {escape(error.message)}")
        if error.hint:
            self.errors.print(f"       {escape(error.hint)}")

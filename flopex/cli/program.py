"""The program as a whole: wrong usage is told to programs as every other error is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from flopex.cli.exits import CommandError, ExitCode
from flopex.cli.output import Output

_WrongUsage: type[Exception] = typer.BadParameter.__mro__[1]
"""What Typer raises for an option or an argument that is missing, unknown or unreadable."""


class Program(TyperGroup):
    """All commands. With `--json` wrong usage is one object on stderr, not a drawing."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Parse and run, and leave with the command's exit status."""
        extra["windows_expand_args"] = windows_expand_args
        given = sys.argv[1:] if args is None else list(args)
        if not standalone_mode or "--json" not in given:
            return super().main(given, prog_name, complete_var, standalone_mode, **extra)
        try:
            code = super().main(given, prog_name, complete_var, standalone_mode=False, **extra)
        except _WrongUsage as error:
            Output(as_json=True).error(_explained(error))
            code = ExitCode.USAGE
        sys.exit(code or ExitCode.OK)


def _explained(error: Any) -> CommandError:
    hint = f"{error.ctx.command_path} --help" if error.ctx else ""
    return CommandError(error.format_message(), hint, ExitCode.USAGE, "USAGE")

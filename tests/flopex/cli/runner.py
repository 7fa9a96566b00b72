"""Commands in this process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from flopex.cli import app


def run(
    *arguments: str | Path, env: Mapping[str, str | None] | None = None, stdin: str = ""
) -> Any:
    """Run a command; the machine's own FLOPEX_* settings do not reach it.

    Returns:
        What the runner has: exit_code, stdout, stderr.

    Raises:
        Exception: what the command let through.
    """
    environment: dict[str, str | None] = {
        **dict.fromkeys((k for k in os.environ if k.startswith("FLOPEX_")), None),
        "COLUMNS": "300",
        "NO_COLOR": "1",
        **(env or {}),
    }
    done = CliRunner().invoke(app, [*map(str, arguments)], input=stdin, env=environment)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done

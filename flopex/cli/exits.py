"""Exit codes: one table, the same for every command."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from flopex.leaving import STATUS_INTERRUPTED


class ExitCode(IntEnum):
    """What a command's exit status says."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    FUNDS = 4
    KEY = 5
    NOT_FOUND = 6
    INTERRUPTED = STATUS_INTERRUPTED


EXIT_TEXTS: Final[dict[ExitCode, str]] = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "refused or failed, for a reason that has no number of its own",
    ExitCode.USAGE: "wrong usage: an option, an argument or the settings file",
    ExitCode.UNREACHABLE: "the exchange cannot be reached, is shutting down or did not answer",
    ExitCode.FUNDS: "not enough money, or a cap of the account is reached",
    ExitCode.KEY: "no API key, an unknown one, or one without the role that is needed",
    ExitCode.NOT_FOUND: "no such job, order, instrument, account, worker or journal",
    ExitCode.INTERRUPTED: "ended by Ctrl-C (a demo also by SIGTERM) before it was done",
}
"""Every exit code's meaning, as the help and the documents print it."""


class CommandError(Exception):
    """Ends a command with one or two lines on stderr.

    Args:
        message: What is wrong.
        hint: What to do about it.
        code: The exit status.
        reason: For programs, upper snake case: stands in the JSON form of the error.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        code: ExitCode = ExitCode.FAILED,
        reason: str = "FAILED",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.reason = reason


def in_words(error: Exception) -> str:
    """What an exception says; one of the system's without its number.

    >>> in_words(FileNotFoundError(2, "No such file or directory", "/nowhere"))
    'no such file or directory: /nowhere'
    """
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    said = error.strerror[:1].lower() + error.strerror[1:]
    return said if error.filename is None else f"{said}: {error.filename}"

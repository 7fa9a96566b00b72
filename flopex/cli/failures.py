"""What went wrong, in one or two lines and an exit code."""

from __future__ import annotations

from typing import Final

from exchange.client import errors
from exchange.v1.reason_pb2 import Reason
from flopex.cli.exits import CommandError, ExitCode
from flopex.cli.hints import HINTS

_CODES: Final[tuple[tuple[type[errors.FlopexError], ExitCode], ...]] = (
    # The first that fits decides, so the narrower stand before the wider.
    (errors.Unauthenticated, ExitCode.KEY),
    (errors.PermissionDenied, ExitCode.KEY),
    (errors.NotFound, ExitCode.NOT_FOUND),
    (errors.LimitReached, ExitCode.FUNDS),
    (errors.Unavailable, ExitCode.UNREACHABLE),
    (errors.Overloaded, ExitCode.UNREACHABLE),
    (errors.DeadlineExceeded, ExitCode.UNREACHABLE),
    (errors.FlopexError, ExitCode.FAILED),
)
_FAMILIES: Final = {1: ExitCode.KEY, 2: ExitCode.NOT_FOUND, 5: ExitCode.FUNDS}


def explained(error: Exception, target: str) -> CommandError | None:
    """A client's exception as a command error; None for any other."""
    return command_error(error, target) if isinstance(error, errors.FlopexError) else None


def command_error(error: errors.FlopexError, target: str) -> CommandError:
    """How an exception of the client looks to a user."""
    code = next(code for kind, code in _CODES if isinstance(error, kind))
    if not isinstance(error, errors.CallFailed):
        return CommandError(str(error), code=code, reason=type(error).__name__.upper())
    hint = HINTS.get(error.reason, "")
    if isinstance(error, errors.Unavailable) and error.reason not in HINTS:
        return CommandError(
            f"cannot reach an exchange at {target}",
            "is it running? start one with: flopex serve; or name another with --target "
            "(the address of gRPC, not that of the page)",
            code,
            error.reason or "UNAVAILABLE",
        )
    reason = error.reason or error.code.name
    return CommandError(error.message, hint, code, reason)


def refusal_code(reason: str) -> ExitCode:
    """The exit code for a refusal that is no error of the call, as of an order.

    It is the one that the same reason has as an error: by the family of its number.
    """
    name = f"REASON_{reason}"
    family = Reason.Value(name) // 100 if name in Reason.keys() else 0  # noqa: SIM118
    return _FAMILIES.get(family, ExitCode.FAILED)

"""What went wrong, in one or two lines and an exit code."""

from __future__ import annotations

import traceback
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
_CLIENT: Final = "exchange.client."
_PROTOBUF: Final = "google.protobuf."
_OUT_OF_RANGE: Final = "Value out of range"
"""How protobuf begins the error of a number that its field cannot hold."""
SHOWN_AROUND: Final = 16
"""So many characters are shown on either side of one that cannot be sent: it may be a prompt."""
_FAMILIES: Final = {1: ExitCode.KEY, 2: ExitCode.NOT_FOUND, 5: ExitCode.FUNDS}


def explained(error: Exception, target: str) -> CommandError | None:
    """A client's exception as a command error; None for any other."""
    if isinstance(error, errors.FlopexError):
        return command_error(error, target)
    return _unusable_argument(error)


def _unusable_argument(error: Exception) -> CommandError | None:
    """What the client could make no request of; None for any other exception.

    The client promises a ValueError for an argument that it cannot use, and protobuf raises one
    where the client fills in a message. An error that came up anywhere else is a defect, and so is
    one of bytes that were received.
    """
    if not isinstance(error, ValueError | OverflowError) or isinstance(error, UnicodeDecodeError):
        return None
    if not _raised_in_client(error):
        return None
    if isinstance(error, UnicodeEncodeError):
        around = error.object[max(error.start - SHOWN_AROUND, 0) : error.end + SHOWN_AROUND]
        return CommandError(
            f"text that is not UTF-8 cannot be sent: {around!a}",
            code=ExitCode.USAGE,
            reason="USAGE",
        )
    hint = ""
    if isinstance(error, OverflowError) or str(error).startswith(_OUT_OF_RANGE):
        hint = (
            "numbers have at most 64 bits, and ids no sign; money counts in nano-dollars, compute "
            "in MFLOP"
        )
    message = str(error)[:1].lower() + str(error)[1:]
    return CommandError(message, hint, ExitCode.USAGE, "USAGE")


def _raised_in_client(error: Exception) -> bool:
    """Whether a line of the client's raised it, or one that filled in a message of protobuf's.

    Of an exception that comes from deeper below the client is only on the way.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [str(frame.f_globals.get("__name__", "")) for frame in frames]
    # Protobuf has frames only where it is not compiled.
    own = [name for name in modules if not name.startswith(_PROTOBUF)]
    return bool(own) and f"{own[-1]}.".startswith(_CLIENT)


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

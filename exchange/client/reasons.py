"""Why something was refused or came to nothing: the names of the reasons on the wire."""

from __future__ import annotations

from typing import Final

from exchange.v1.reason_pb2 import Reason

PREFIX: Final = "REASON_"
_NAMES: Final[dict[int, str]] = {n: name.removeprefix(PREFIX) for name, n in Reason.items()}


def reason_name(number: int) -> str:
    """A reason without its prefix, such as NO_FREE_SLOT; empty for none.

    A number that this version does not know gives REASON_ and the number.
    """
    if not number:
        return ""
    return _NAMES.get(number) or f"{PREFIX}{number}"

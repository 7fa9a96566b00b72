"""Ports that stay a test's while nobody listens on them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port on which nobody but the test listens until the block ends.

    It is bound, so that the system gives it to nobody else, and not listened on, so that whoever
    asks for it by number (with SO_REUSEADDR, as servers do) gets it.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        yield port

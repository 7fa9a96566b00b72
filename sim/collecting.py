"""The cyclic collector and markets of millions of objects."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collecting_paused() -> Iterator[None]:
    """Without the cyclic collector: a market makes millions of objects, and nearly no garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

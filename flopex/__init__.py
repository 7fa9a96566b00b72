"""The `flopex` command: the composition root of the exchange, the worker, the demo and the bench.

It imports all other packages; nothing imports it.
"""

from __future__ import annotations

from importlib.metadata import version

__version__ = version("flopex")

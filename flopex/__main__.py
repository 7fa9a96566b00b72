"""`python -m flopex` is the `flopex` command."""

from __future__ import annotations

from flopex.cli import main

main()

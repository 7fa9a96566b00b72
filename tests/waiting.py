"""How long a test waits for what must happen."""

from __future__ import annotations

from typing import Final

WITHIN_S: Final = 60.0
"""Not what the product promises: a machine that is busy elsewhere may stop any process for seconds,
in any line, and who waits for less fails by chance. Only promises are timed, and then as the best
of several tries."""

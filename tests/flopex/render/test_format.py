from __future__ import annotations

import doctest

from flopex.render import format as format_module
from flopex.render.format import clock_time, date_time


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(format_module).failed == 0


def test_no_time_is_a_dash() -> None:
    assert clock_time(0) == "-"
    assert len(clock_time(1_700_000_000 * 10**9)) == 8
    assert date_time(0) == "-"
    assert date_time(1_700_000_000 * 10**9).startswith("2023-11-1")

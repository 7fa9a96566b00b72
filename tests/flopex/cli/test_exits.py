from __future__ import annotations

import doctest

import pytest

from flopex.cli import exits
from flopex.cli.exits import in_words


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(exits) == (0, 1)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "no space left on device"),
        (OSError("the device took no more bytes"), "the device took no more bytes"),
        (RuntimeError("it ended"), "it ended"),
    ],
)
def test_what_the_system_says_has_no_number(error: Exception, said: str) -> None:
    assert in_words(error) == said

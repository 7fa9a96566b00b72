"""The page of limits: every bound is in the code with that value, and some test speaks of it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/limits.md").read_text()
ROWS = re.findall(r"^\| `(exchange[\w.]+)\.(\w+)` \| ([\d,]+) \| (.+) \|$", PAGE, re.MULTILINE)
TESTS = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]


def test_the_page_has_rows() -> None:
    assert len(ROWS) > 25
    assert len({(module, name) for module, name, *_ in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("module", "name", "value", "_"), ROWS)
def test_a_bound_is_what_the_page_says_and_is_tested(
    module: str, name: str, value: str, _: str
) -> None:
    assert getattr(importlib.import_module(module), name) == int(value.replace(",", ""))
    used = re.compile(rf"\b{name}\b")
    assert any(used.search(text) for text in TESTS), "no test names it"

"""The page's book: its vectors are fresh, and Node agrees with Python about each."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.exchange.http.market.watching import Book
from tests.waiting import WITHIN_S
from tests.web.book_vectors import PATH, text

HERE = Path(__file__).parent
NODE = shutil.which("node")


def test_the_vectors_are_what_the_exchange_says_now() -> None:
    assert PATH.read_text() == text(), "run: python -m tests.web.book_vectors"


def test_a_reader_in_python_holds_the_same() -> None:
    for name, steps in json.loads(PATH.read_text()).items():
        book = Book(100)
        for step in steps:
            if "held" not in step:
                continue
            book.take(step["message"]["data"])
            levels = [[price, quantity] for price, quantity, _ in step["held"]["bids"]]
            assert levels == [[str(price), str(quantity)] for price, quantity in book.bids], name


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
def test_a_reader_in_javascript_holds_the_same() -> None:
    assert NODE is not None
    ran = subprocess.run(
        [NODE, "--test", *sorted(map(str, HERE.glob("*.test.mjs")))],
        capture_output=True,
        text=True,
        timeout=2 * WITHIN_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr

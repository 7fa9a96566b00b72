"""Reading tables (CSV, gzipped or not) that somebody else wrote, by the names of their columns."""

from __future__ import annotations

import csv
import gzip
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO

GZIP_MAGIC = b"\x1f\x8b"
FIELD_CHARS_MAX = 1 << 20
NUMBER_MAX = 10**15
"""Numbers in a table are smaller, so that scaling them is exact."""

Row = dict[str, str]


class BadTable(Exception):
    """A file is absent, or is not the table that was expected. Says which file and where."""


def read_table(path: Path, columns: Iterable[str]) -> Iterator[Row]:
    """The rows of a table; other columns than the wanted ones may be there and are kept.

    Raises:
        BadTable: the file is absent or unreadable, lacks a column, or a row is too short.
    """
    csv.field_size_limit(FIELD_CHARS_MAX)
    with open_text(path) as lines:
        try:
            yield from _rows(path, csv.DictReader(lines), columns)
        except csv.Error as error:
            msg = f"{path}: cannot be read: {error}"
            raise BadTable(msg) from error


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """A text file, gzipped or not; its name does not matter.

    Raises:
        BadTable: the file is absent or unreadable.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == GZIP_MAGIC
        opener: Callable[..., IO[str]] = gzip.open if zipped else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as lines:
            yield lines
    except FileNotFoundError as error:
        msg = f"{path}: there is no such file (--help says where to get it)"
        raise BadTable(msg) from error
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        msg = f"{path}: cannot be read: {error}"
        raise BadTable(msg) from error


def _rows(path: Path, reader: csv.DictReader[str], columns: Iterable[str]) -> Iterator[Row]:
    header = reader.fieldnames or []
    missing = [name for name in columns if name not in header]
    if missing:
        msg = f"{path}: no column {', '.join(missing)}; it has {', '.join(header) or 'none'}"
        raise BadTable(msg)
    for row in reader:
        # DictReader fills missing fields with None, and puts surplus ones under the key None.
        if None in row.values() or None in row:
            msg = f"{path}, line {reader.line_num}: not as many fields as the header has"
            raise BadTable(msg)
        yield row


def scaled(text: str, decimals: int, where: str) -> int:
    """A decimal number as an integer of 10^-decimals, rounded to the nearest (half to even).

    Raises:
        BadTable: it is no number, or NUMBER_MAX or more. `where` says what was read.
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or not -NUMBER_MAX < number < NUMBER_MAX:
        msg = f"{where}: {text!r} is not a number below {NUMBER_MAX}"
        raise BadTable(msg)
    return int(number.scaleb(decimals).to_integral_value())


def decimals_of(texts: Iterable[str], where: str) -> int:
    """How many decimal places hold every one of these numbers exactly.

    Raises:
        BadTable: one of them is no number. `where` says what was read.
    """
    most = 0
    for text in texts:
        scaled(text, 0, where)
        places = Decimal(text).normalize().as_tuple().exponent
        assert isinstance(places, int)
        most = max(most, -places)
    return most


def refuse(message: str) -> int:
    """Say why a command could not run; returns its exit status."""
    sys.stderr.write(f"{message}\n")
    return 2

"""Small files for the tests of the conformance commands."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable
from pathlib import Path


def write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> Path:
    """A CSV file, gzipped if its name ends so."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([header, *rows])
    return path

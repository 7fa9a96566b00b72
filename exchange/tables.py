"""Tables for spreadsheets and notebooks: CSV, a row at a time, and Parquet out of such a CSV.

Amounts and times are the API's integers, in the units that their names end with.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

Columns = Mapping[str, type]
"""Names of columns, and what they hold: `int` or `str`."""

TRADES: Final[Columns] = {
    "event_time_ns": int,
    "instrument": str,
    "trade_id": int,
    "price_nanos": int,
    "quantity_mflop": int,
    "taker_side": str,
}
"""`taker_side` is bid, ask, or empty for a lease that a batch granted."""
CANDLES: Final[Columns] = {
    "start_time_ns": int,
    "instrument": str,
    "width_s": int,
    "open_nanos": int,
    "high_nanos": int,
    "low_nanos": int,
    "close_nanos": int,
    "volume_mflop": int,
    "trades": int,
}
QUOTES: Final[Columns] = {
    "event_time_ns": int,
    "instrument": str,
    "bid_nanos": int,
    "bid_quantity": int,
    "ask_nanos": int,
    "ask_quantity": int,
}
"""Best bids and asks; 0 where a side was empty."""


class ParquetMissing(Exception):
    """The package that writes Parquet is not installed."""

    def __init__(self) -> None:
        super().__init__("Parquet needs polars: pip install 'flopex[export]'")


def csv_head(columns: Columns) -> bytes:
    """The first line."""
    return csv_lines([list(columns)])


def csv_lines(rows: Iterable[Sequence[object]]) -> bytes:
    r"""Rows as lines of CSV (RFC 4180, but for the line's end, which is a single one).

    >>> csv_lines([[1, "a"], [2, "b, c"]])
    b'1,a\n2,"b, c"\n'
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def require_parquet() -> Any:
    """The package that writes Parquet.

    Raises:
        ParquetMissing: it is not installed.
    """
    try:
        import polars as pl
    except ImportError as error:
        raise ParquetMissing from error
    return pl


def csv_to_parquet(source: Path, target: Path, columns: Columns) -> None:
    """Write a CSV with a head as Parquet, a part at a time: memory does not follow its length.

    Raises:
        ParquetMissing: the package is not installed.
    """
    pl = require_parquet()
    types = {name: pl.Int64 if kind is int else pl.String for name, kind in columns.items()}
    texts = [name for name, kind in columns.items() if kind is str]
    frame = pl.scan_csv(source, schema=types)
    # An empty text is no missing one.
    frame.with_columns(pl.col(texts).fill_null("")).sink_parquet(target)

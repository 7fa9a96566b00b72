"""Traces with a line for each request: Azure, BurstGPT, Mooncake, and the plain CSV form."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Final, TextIO

from exchange.core.limits import NS_PER_MS, NS_PER_S
from sim.traces.request import Request, TraceFileError, request

Row = dict[str, str]
_BLOCKS: Final = "prefix_block_ids_512"
Reader = Callable[[TextIO, int], Iterator[Request]]


def reader_for(first_line: str) -> Reader | None:
    """The reader of a file that begins with this line; None where none knows it."""
    if first_line.startswith("{"):
        return _mooncake
    columns = set(next(csv.reader([first_line]), []))
    for known, convert in _TABLES:
        if known <= columns:
            return _table(convert)
    return None


def _table(convert: Callable[[Row], Request]) -> Reader:
    def read(text: TextIO, limit: int) -> Iterator[Request]:
        rows = csv.DictReader(text)
        for number, row in enumerate(itertools.islice(rows, limit or None), 2):
            try:
                yield convert(row)
            except (TypeError, ValueError, InvalidOperation) as error:
                raise TraceFileError(f"line {number}: {error}") from error

    return read


def _plain_s(row: Row) -> Request:
    return _plain(row, _ns(row["arrival_s"]))


def _plain_ms(row: Row) -> Request:
    return _plain(row, int(row["arrival_ms"]) * NS_PER_MS)


def _plain(row: Row, arrival_ns: int) -> Request:
    blocks = tuple(map(int, (row.get(_BLOCKS) or "").split()))
    return request(arrival_ns, int(row["prompt_tokens"]), int(row["output_tokens"]), blocks)


def _azure(row: Row) -> Request:
    """Times such as 2023-11-16 18:15:46.6805900, with seven digits or six, or none."""
    whole, _, part = row["TIMESTAMP"].partition(".")
    digits = "".join(itertools.takewhile(str.isdigit, part))
    # Some releases carry an offset; all of one file carry the same, and only differences count.
    moment = datetime.fromisoformat(whole[:19]).replace(tzinfo=UTC)
    arrival_ns = int(moment.timestamp()) * NS_PER_S + int(digits.ljust(9, "0")[:9] or 0)
    return request(arrival_ns, int(row["ContextTokens"]), int(row["GeneratedTokens"]))


def _burstgpt(row: Row) -> Request:
    tokens = int(row["Request tokens"]), int(row["Response tokens"])
    return request(_ns(row["Timestamp"]), *tokens)


def _mooncake(text: TextIO, limit: int) -> Iterator[Request]:
    for number, line in enumerate(itertools.islice(text, limit or None), 1):
        try:
            entry = json.loads(line)
            arrival_ns = int(entry["timestamp"]) * NS_PER_MS
            blocks = tuple(map(int, entry.get("hash_ids", ())))
            tokens = int(entry["input_length"]), int(entry["output_length"])
            yield request(arrival_ns, *tokens, blocks)
        except (KeyError, TypeError, ValueError) as error:
            raise TraceFileError(f"line {number}: {error}") from error


def _ns(seconds: str) -> int:
    return int(Decimal(seconds) * NS_PER_S)


_TABLES: Final = (
    (frozenset({"arrival_s", "prompt_tokens", "output_tokens"}), _plain_s),
    (frozenset({"arrival_ms", "prompt_tokens", "output_tokens"}), _plain_ms),
    (frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"}), _azure),
    (frozenset({"Timestamp", "Request tokens", "Response tokens"}), _burstgpt),
)

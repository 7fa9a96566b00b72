"""Choose the reader by what the file says of itself: its first line."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import TextIO

from sim.traces import servegen, tables
from sim.traces.request import Request, TraceFileError, from_first

WHERE = """Known traces, and where they are published:
  Azure LLM inference 2023, 2024   github.com/Azure/AzurePublicDataset
  BurstGPT                         github.com/HPMLL/BurstGPT
  Mooncake                         github.com/kvcache-ai/Mooncake (FAST25-release/traces)
  ServeGen client tables           github.com/alibaba/ServeGen (a folder of chunks)"""


def read_trace(path: Path, limit: int = 0, seed: int = 0) -> list[Request]:
    """The requests of a trace, in the order of their arrival.

    Args:
        path: A file of one of the kinds in `WHERE`.
        limit: At most so many requests from the file's start; 0 for all.
        seed: For tables of rates, from which requests are drawn.

    Raises:
        TraceFileError: no such file, no known kind, or damaged; the text says where traces are.
    """
    try:
        if path.is_dir():
            return _first(servegen.sample(path, limit, seed), limit)
        with _opened(path) as text:
            first = text.readline().strip()
            if servegen.is_rates(first):
                return _first(servegen.sample(path, limit, seed), limit)
            reader = tables.reader_for(first)
            if reader is None:
                raise TraceFileError(f"{path}: {first[:80]!r} begins no known trace\n{WHERE}")
            text.seek(0)
            requests = list(reader(text, limit))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise TraceFileError(f"{path}: {error}\n{WHERE}") from error
    if not requests:
        raise TraceFileError(f"{path}: holds no requests")
    return from_first(requests)


def _first(requests: list[Request], limit: int) -> list[Request]:
    return from_first(requests)[: limit or None]


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")

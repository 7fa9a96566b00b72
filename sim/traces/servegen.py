"""ServeGen's client tables (Xiang et al. 2025): requests are drawn from them, by seed.

For each client and window of ten minutes the tables state a rate and the distribution of the times
between requests (Gamma or Weibull, by its shape), and for each six hours how long prompts and
answers were. Given is the folder of `chunk-N-trace.csv` and `chunk-N-dataset.json`, as ServeGen
publishes it, or one file of rates named `*_client_rates.csv`, with `*_client_length_pdfs.csv`
beside it.
"""

from __future__ import annotations

import ast
import csv
import gzip
import itertools
import json
import math
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from exchange.core.limits import NS_PER_S
from sim.traces.request import Request, TraceFileError, request

WINDOW_S: Final = 600
TABLE_CHARACTERS_MAX: Final = 1 << 24
"""Longest table of lengths in one field of a CSV file."""
RATES_HEADER: Final = "client,window_start_s,rate_rps,cv,dist,param1,param2"
_FIELDS: Final = ("input_tokens", "output_tokens")


class Rate(NamedTuple):
    """How often one client asked during one window."""

    window_start_s: int
    client: str
    per_s: float
    distribution: str
    shape: float


class Lengths(NamedTuple):
    """Prompt or answer lengths, and the running sums of their shares."""

    tokens: list[int]
    sums: list[float]


Pdfs = dict[tuple[str, str], list[tuple[int, Lengths]]]
"""(client, field) -> (from which second, lengths), rising."""


def is_rates(first_line: str) -> bool:
    """Whether a file that begins so holds rates of clients."""
    return first_line == RATES_HEADER


def sample(path: Path, limit: int, seed: int) -> list[Request]:
    """Requests drawn from the tables.

    Args:
        path: The file of rates, or the folder of chunks.
        limit: At least so many of the first ones, where the tables hold so many; 0 for all.
        seed: Two calls with one seed give the same.

    Raises:
        TraceFileError: a file is missing or damaged.
    """
    try:
        rates, pdfs = _chunks(path) if path.is_dir() else _joined(path)
        return _drawn(rates, pdfs, limit, seed)
    except (OSError, KeyError, IndexError, SyntaxError, ValueError) as error:
        raise TraceFileError(f"{path}: {error}") from error


def _drawn(rates: list[Rate], pdfs: Pdfs, limit: int, seed: int) -> list[Request]:
    requests: list[Request] = []
    for _, window in itertools.groupby(sorted(rates), key=lambda rate: rate.window_start_s):
        for rate in window:
            rng = random.Random(f"{seed}/{rate.client}/{rate.window_start_s}")
            requests += _window(rate, pdfs, rng)
        if limit and len(requests) >= limit:
            break
    return requests


def _window(rate: Rate, pdfs: Pdfs, rng: random.Random) -> Iterator[Request]:
    lengths = [_at(pdfs.get((rate.client, field), []), rate.window_start_s) for field in _FIELDS]
    prompt, answer = lengths
    if prompt is None or answer is None:
        return  # a client of whom only the rate is known
    # The first pause is cut at random: the window begins in the middle of the client's life.
    at_s = _pause_s(rate, rng) * rng.random()
    while at_s < WINDOW_S:
        arrival_ns = int((rate.window_start_s + at_s) * NS_PER_S)
        yield request(arrival_ns, _length(prompt, rng), _length(answer, rng))
        at_s += _pause_s(rate, rng)


def _pause_s(rate: Rate, rng: random.Random) -> float:
    """Time between two requests, of mean 1 / rate."""
    if rate.distribution == "Weibull":
        scale = 1 / (rate.per_s * math.gamma(1 + 1 / rate.shape))
        return rng.weibullvariate(scale, rate.shape)
    return rng.gammavariate(rate.shape, 1 / (rate.per_s * rate.shape))


def _length(lengths: Lengths, rng: random.Random) -> int:
    return rng.choices(lengths.tokens, cum_weights=lengths.sums)[0]


def _at(known: list[tuple[int, Lengths]], second: int) -> Lengths | None:
    """The latest lengths that were known by then, or else the first ones."""
    earlier = [lengths for start, lengths in known if start <= second]
    return earlier[-1] if earlier else known[0][1] if known else None


def _lengths(pdf: dict[str, float] | dict[int, float]) -> Lengths | None:
    shares = [(int(tokens), float(share)) for tokens, share in pdf.items() if float(share) > 0]
    if not shares:
        return None
    tokens, weights = zip(*shares, strict=True)
    return Lengths(list(tokens), list(itertools.accumulate(weights)))


def _rate(client: str, row: list[str]) -> Rate | None:
    """From window start, rate, coefficient of variation, distribution and its shape."""
    start, per_s, _, distribution, shape = row[:5]
    if float(per_s) <= 0 or not distribution:
        return None
    if distribution not in ("Gamma", "Weibull"):
        raise TraceFileError(f"client {client}: distribution {distribution!r} is unknown")
    return Rate(int(float(start)), client, float(per_s), distribution, float(shape))


def _joined(path: Path) -> tuple[list[Rate], Pdfs]:
    pdf_path = path.with_name(path.name.replace("_client_rates", "_client_length_pdfs"))
    if pdf_path == path or not pdf_path.exists():
        raise TraceFileError(f"the lengths of requests are missing: {pdf_path}")
    rates = [_rate(row[0], row[1:]) for row in _rows(path)]
    pdfs: Pdfs = {}
    for client, start, field, text in sorted(_rows(pdf_path), key=lambda row: int(row[1])):
        if field in _FIELDS and (lengths := _lengths(json.loads(text))):
            pdfs.setdefault((client, field), []).append((int(start), lengths))
    return [rate for rate in rates if rate], pdfs


def _chunks(folder: Path) -> tuple[list[Rate], Pdfs]:
    rates: list[Rate] = []
    pdfs: Pdfs = {}
    for path in sorted(folder.glob("chunk-*-trace.csv")):
        client = path.name.split("-")[1]
        with path.open(encoding="utf-8", newline="") as text:
            rates += [rate for row in csv.reader(text) if (rate := _rate(client, row))]
        dataset = json.loads(path.with_name(f"chunk-{client}-dataset.json").read_text())
        for start in sorted(dataset, key=int):
            for field in _FIELDS:
                # Its dictionaries are written as Python writes them, with numbers for keys.
                if lengths := _lengths(ast.literal_eval(dataset[start][field])):
                    pdfs.setdefault((client, field), []).append((int(start), lengths))
    if not rates:
        raise TraceFileError("holds no chunk-N-trace.csv with a rate")
    return rates, pdfs


def _rows(path: Path) -> Iterable[list[str]]:
    """The rows behind the header."""
    csv.field_size_limit(TABLE_CHARACTERS_MAX)  # of the whole process; csv knows no other way
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as text:
        rows = csv.reader(text)
        next(rows)
        yield from rows

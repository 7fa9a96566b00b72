"""Shows questions, or how BIG-Bench-Hard's are read: `python -m worker.model.tasks`.

Prints one JSON object a line: samples of a seed, or with --bbh one for each task of a folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from worker.model.tasks import FAMILIES
from worker.model.tasks.bbh import FAMILY_OF, BbhError, Item, read_bbh
from worker.model.tasks.draws import Mix, stream
from worker.model.tasks.splits import Split
from worker.model.vocabulary import (
    ANSWER_SIZE,
    FIRST_ALIAS,
    PromptError,
    Reading,
    encode_answer,
    read,
)


def samples(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield samples as they are drawn for training or evaluation."""
    families = (options.family,) if options.family else FAMILIES
    drawn = stream(options.seed, options.split, options.mix, families)
    for sample, reading in itertools.islice(drawn, options.count):
        yield {**dataclasses.asdict(sample), "tokens": len(reading.tokens)}


def coverage(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield how each task's items are read.

    `items_read`: items that are not refused.  `items_answerable`: those whose target can be
    written.  `unknown_share`: share of tokens that stand for unknown words.

    Raises:
        BbhError: as `read_bbh`.
    """
    for task, items in read_bbh(folder).items():
        readings = [(item, reading) for item in items if (reading := _reading(item)) is not None]
        lengths = [len(reading.tokens) for _, reading in readings]
        unknown = sum(FIRST_ALIAS <= t < ANSWER_SIZE for _, r in readings for t in r.tokens)
        yield {
            "task": task,
            "family": FAMILY_OF.get(task),
            "items": len(items),
            "items_read": len(readings),
            "items_answerable": sum(_is_answerable(*pair) for pair in readings),
            "tokens_max": max(lengths, default=0),
            "unknown_share": round(unknown / max(sum(lengths), 1), 3),
        }


def _reading(item: Item) -> Reading | None:
    try:
        return read(item.question)
    except PromptError:
        return None


def _is_answerable(item: Item, reading: Reading) -> bool:
    try:
        encode_answer(item.answer, reading.aliases)
    except ValueError:
        return False
    return True


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m worker.model.tasks", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--family", choices=FAMILIES)
    parser.add_argument("--split", choices=get_args(Split), default="train")
    parser.add_argument("--mix", choices=get_args(Mix), default="uniform")
    parser.add_argument("--bbh", type=Path, help="a folder of BIG-Bench-Hard's JSON files")
    options = parser.parse_args()
    lines = coverage(options.bbh) if options.bbh else samples(options)
    try:
        for line in lines:
            sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    except BbhError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()

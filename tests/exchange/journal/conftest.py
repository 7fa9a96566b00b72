"""What the journal's tests share: groups whose payload follows from their number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from exchange.journal import GroupRecord, LocalLog
from exchange.journal.format import SECTOR_BYTES

RULES_VERSION = 3
GENESIS = b"test exchange"
SEGMENT_BYTES = 8192


def make_group(first_sequence: int, *, size: int = 0, epoch: int = 1) -> GroupRecord:
    """A group of 1 to 5 records; its size in bytes is chosen if none is given."""
    chance = Random(first_sequence)
    count = chance.randint(1, 5)
    return GroupRecord(
        first_sequence, count, epoch, chance.randbytes(size or chance.randint(1, 900))
    )


@pytest.fixture
def group() -> Callable[..., GroupRecord]:
    return make_group


@pytest.fixture
def open_log() -> Callable[..., LocalLog]:
    """Opens a log with the tests' own settings."""

    def opened(directory: Path, **options: Any) -> LocalLog:
        defaults: dict[str, Any] = {
            "rules_version": RULES_VERSION,
            "genesis": GENESIS,
            "segment_bytes": SEGMENT_BYTES,
            "alignment": SECTOR_BYTES,
        }
        return LocalLog(directory, **(defaults | options))

    return opened


@pytest.fixture
def fill(group: Callable[..., GroupRecord]) -> Callable[..., list[GroupRecord]]:
    """Appends groups to a log and returns them."""

    def filled(log: LocalLog, groups: int, **options: Any) -> list[GroupRecord]:
        written = []
        for _ in range(groups):
            written.append(group(log.next_sequence, **options))
            log.append(written[-1])
        return written

    return filled

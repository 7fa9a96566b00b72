"""The tests' own logs and groups, as fixtures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from exchange.journal import GroupRecord, LocalLog
from tests.exchange.journal.runs import make_group, open_test_log


@pytest.fixture
def group() -> Callable[..., GroupRecord]:
    return make_group


@pytest.fixture
def open_log() -> Callable[..., LocalLog]:
    """Opens a log with the tests' own settings."""
    return open_test_log


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

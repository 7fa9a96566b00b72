"""Replaying a journal through a fresh core: the same commands must give the same state."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from exchange.core.commands import decode
from exchange.core.exchange import Exchange
from exchange.core.limits import RULES_VERSION
from exchange.journal import read_journal


class Replay(NamedTuple):
    """What a replay came to.

    Attributes:
        sequence: The last command that was applied.
        digest: Of the state after it.
        imbalance_nanos: Sum over all accounts, nano-dollars.
        seconds: How long it took.
    """

    sequence: int
    digest: bytes
    imbalance_nanos: int
    seconds: float


def replay_journal(directory: Path, up_to_sequence: int) -> Replay:
    """Apply a journal's commands up to and including one; its exchange may be running.

    Raises:
        JournalError: the journal cannot be read.
        RecordError: a record cannot be.
        AssertionError: an invariant does not hold in the state that came of it.
    """
    began = time.monotonic()
    core = Exchange()
    for record in read_journal(directory, rules_version=RULES_VERSION):
        if core.sequence >= up_to_sequence:
            break
        core.apply(decode(record.payload))
    core.check()
    return Replay(core.sequence, core.digest(), core.imbalance_nanos(), time.monotonic() - began)

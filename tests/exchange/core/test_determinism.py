"""The same commands give the same state: in another process, with other hashes, from records."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from exchange.core.commands import decode
from exchange.core.exchange import Exchange
from tests.exchange.core.chaos import Chaos
from tests.exchange.core.scenario import Market

ROOT = Path(__file__).parents[3]
COMMANDS = 1_500
REPLAY = """
import sys
from exchange.core.commands import decode
from exchange.core.exchange import Exchange
exchange = Exchange()
events = exchange.apply(decode(sys.stdin.buffer.read()))
print(exchange.digest().hex(), hash("salt"), len(repr(events)), repr(events)[-4_000:])
"""


def recorded(seed: int) -> Market:
    market = Market()
    chaos = Chaos(market, seed)
    for _ in range(COMMANDS):
        chaos.saw(market.events(chaos.command()))
    return market


def replayed(records: bytes, hash_seed: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", REPLAY],
        input=records,
        capture_output=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)},
    )
    digest, salt, events = done.stdout.decode().split(" ", 2)
    return [salt, digest, events]


def test_two_processes_with_other_hash_seeds_agree() -> None:
    market = recorded(seed=11)
    first, second = (replayed(bytes(market.records), hash_seed) for hash_seed in (1, 2))
    assert first[0] != second[0], "the processes hash alike, so this proves nothing"
    assert first[1:] == second[1:]
    assert first[1] == market.exchange.digest().hex()


def test_groups_do_not_matter_and_every_event_is_the_same() -> None:
    """A journal's groups may be cut anywhere: only the order of commands counts."""
    market = recorded(seed=12)
    commands = decode(bytes(market.records))
    whole, one_by_one = Exchange(), Exchange()
    events = whole.apply(commands)
    assert list(events) == [one_by_one.apply([command])[0] for command in commands]
    assert whole.digest() == one_by_one.digest() == market.exchange.digest()


def test_reading_changes_nothing() -> None:
    market = recorded(seed=13)
    exchange = market.exchange
    before = exchange.digest()
    exchange.check()
    exchange.next_timer_ns()
    for instrument_id in exchange.instruments:
        exchange.depth(instrument_id, 10)
    for job_id in exchange.jobs:
        exchange.why_waiting(job_id)
    for account_id in exchange.accounts:
        exchange.jobs_of(account_id)
        exchange.open_orders_of(account_id)
    assert exchange.digest() == before
    market.close()

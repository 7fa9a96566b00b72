"""Journals full of things that happen, made by the core's own random tests."""

from __future__ import annotations

import random
from pathlib import Path

from exchange.core.commands import Command, decode
from exchange.core.exchange import Exchange
from exchange.core.limits import RULES_VERSION
from exchange.journal import GroupRecord, LocalLog
from tests.exchange.core.chaos import Chaos, OrderChaos
from tests.exchange.core.scenario import Market

GENESIS = b"flopex"
SEGMENT_BYTES = 1 << 18
"""Small, so that a journal has several."""


def chaos_commands(seed: int, count: int) -> list[Command]:
    """Jobs, workers, orders and the operator at random; most of it makes sense."""
    market = Market()
    return _commands(market, Chaos(market, seed), count)


def order_commands(seed: int, count: int) -> list[Command]:
    """Orders of every kind on three books at random."""
    market = Market()
    return _commands(market, OrderChaos(market, seed), count)


def _commands(market: Market, chaos: Chaos, count: int) -> list[Command]:
    for _ in range(count):
        command = chaos.command()
        market.records += command.encode()
        chaos.saw(market.exchange.apply([command])[0])
    return decode(bytes(market.records))


class Writer:
    """An engine's side of a journal: commit groups of any size."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.core = Exchange()
        self.log = LocalLog(
            directory, rules_version=RULES_VERSION, genesis=GENESIS, segment_bytes=SEGMENT_BYTES
        )

    def append(self, commands: list[Command], seed: int = 1, largest: int = 40) -> None:
        """Apply and journal commands, in groups of 1 to `largest`."""
        rng = random.Random(seed)
        while commands:
            size = rng.randint(1, largest)
            group, commands = commands[:size], commands[size:]
            payload = b"".join(command.encode() for command in group)
            self.log.append(
                GroupRecord(self.core.sequence + 1, len(group), self.core.epoch, payload)
            )
            self.core.apply(group)

    def close(self) -> None:
        self.log.close()

"""Best prices over time, against the books that they were taken from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from exchange.core.commands import Advance, Command
from exchange.core.limits import NS_PER_S
from exchange.readmodel import queries
from exchange.readmodel.database import connect
from exchange.readmodel.feed import Feed
from tests.exchange.readmodel.journals import Writer, chaos_commands, order_commands

NewUrl = Callable[[], str]


def groups_of(commands: list[Command]) -> list[list[Command]]:
    """Commit groups as an engine makes them: each begins with the time."""
    groups: list[list[Command]] = [[]]
    for command in commands:
        if isinstance(command, Advance):
            groups.append([])
        groups[-1].append(command)
    return [group for group in groups if group]


@pytest.mark.parametrize("made", [chaos_commands, order_commands])
def test_a_row_for_each_second_in_which_they_had_changed(
    made: Callable[[int, int], list[Command]], tmp_path: Path, new_url: NewUrl
) -> None:
    writer = Writer(tmp_path / "journal")
    expected: dict[int, list[tuple[int, ...]]] = {}
    second = 0
    for group in groups_of(made(5, 3_000)):
        writer.append(group, largest=1 << 20)
        core = writer.core
        if core.now_ns // NS_PER_S == second:
            continue
        second = core.now_ns // NS_PER_S
        for instrument_id in core.instruments:
            bids, asks = core.depth(instrument_id, 1)
            best = (*(bids[0] if bids else (0, 0))[:2], *(asks[0] if asks else (0, 0))[:2])
            rows = expected.setdefault(instrument_id, [])
            if best != (rows[-1][1:] if rows else (0, 0, 0, 0)):
                rows.append((core.now_ns, *best))
    writer.close()
    database = connect(new_url())
    feed = Feed.open(tmp_path / "journal", database)
    feed.run_to_end()
    for instrument_id, rows in expected.items():
        found = queries.best_prices(database, instrument_id, len(rows) + 1)
        assert found == rows[::-1]
        middle = rows[len(rows) // 2][0] if rows else 0
        assert queries.best_prices(database, instrument_id, 10_000, middle) == [
            row for row in found if row.event_time_ns >= middle
        ]
        assert (
            queries.best_prices(database, instrument_id, 1, end_time_ns=middle)
            == [row for row in found if row.event_time_ns < middle][:1]
        )
    assert sum(map(len, expected.values())) > 20
    feed.close()
    database.close()

"""What `flopex bench orders` measures: every part, in both forms, of work that was done."""

from __future__ import annotations

import pytest

from flopex.bench import orders
from flopex.bench.orders import FORMS, PARTS, Settings


def test_every_part_is_measured_in_both_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    desks: list[orders._Desk] = []

    class Seen(orders._Desk):
        def __init__(self, form: str, seed: int) -> None:
            super().__init__(form, seed)
            desks.append(self)

    monkeypatch.setattr(orders, "_Desk", Seen)
    told: list[int] = []
    result = orders.run(Settings(rounds=2, batches=6, batch=64), lambda n, _: told.append(n))
    assert told == [1, 2]
    for form in FORMS:
        for part in (*PARTS, "whole"):
            middle, least, most = result[form][part]
            assert 0 <= least <= middle <= most
        assert result[form]["core"][1] > 0
    assert [desk.form for desk in desks] == [*FORMS, *FORMS]
    # Both forms of a round are the same orders, so the exchanges end alike but for the time.
    for messages, rows in (desks[:2], desks[2:]):
        assert messages.core.counters.state() == rows.core.counters.state()
        assert messages.core.counters.trade > 0
        assert len(messages.core.orders) == len(rows.core.orders) > 0
        assert messages.feed.told_bytes > 0
        assert rows.feed.told_bytes > 0

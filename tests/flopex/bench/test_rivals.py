from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from flopex.bench import rivals
from flopex.bench.rivals import CONNECTIONS, PIPELINE, Settings, run


def test_what_is_not_installed_is_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "_binary", lambda _: None)
    result = run(Settings(tmp_path, 0.1, 1), lambda *_: None)
    assert (result["postgres_per_s"], result["redis_per_s"]) == (None, None)
    assert (result["postgres"], result["redis"]) == (None, None)


def test_the_same_seed_gives_the_same_orders_and_no_id_twice() -> None:
    streams = [list(islice(rivals._orders(7, stream), 200)) for stream in (0, 1, 100, 256, 300)]
    again = list(islice(rivals._orders(7, 0), 200))
    assert [order[1:] for order in streams[0]] == [order[1:] for order in again]
    ids = [order.client_order_id for stream in streams for order in stream]
    assert len(set(ids)) == len(ids)
    assert all(len(ident) == 16 for ident in ids)


def test_the_worst_case_is_rounded_up() -> None:
    order = rivals.Order(bytes(16), 1, 1, 3, 1)
    assert order.cost_nanos == 1


@pytest.mark.integration
def test_both_hold_every_order_that_they_answered() -> None:
    """`run` itself counts what the servers hold."""
    told: list[tuple[str, dict[str, Any]]] = []
    # Not in a folder of pytest's: root's PostgreSQL runs as nobody, who may not enter those.
    with tempfile.TemporaryDirectory(prefix="flopex-rivals-") as name:
        Path(name).chmod(0o711)
        settings = Settings(Path(name), 0.2, 1)
        result = run(settings, lambda rival, row: told.append((rival, row)))
        assert list(Path(name).iterdir()) == []
    for rival in ("postgres", "redis"):
        if result[rival] is None:
            pytest.skip(f"{rival} is not installed")
        rows = result[rival]["rows"]
        single = [row for row in rows if row["batch"] == 1]
        assert [row["connections"] for row in single] == list(CONNECTIONS)
        assert result[f"{rival}_per_s"] == max(row["per_s"] for row in single)
        assert all(0 < row["p50_ms"] <= row["p99_ms"] for row in rows)
    assert {row["batch"] for row in result["redis"]["rows"]} == {1, PIPELINE}
    assert len(told) == len(result["postgres"]["rows"]) + len(result["redis"]["rows"])

"""The journal's benchmark measures every way on a real disk, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

from exchange.journal.writers import WriteMode
from flopex.bench.journal import ALIGNMENTS, GROUP_SIZES, Settings, run


def test_every_way_is_measured(tmp_path: Path) -> None:
    rounds: list[tuple[int, int]] = []
    settings = Settings(tmp_path, rounds=2, groups=3, segment_bytes=2 << 20)
    result = run(settings, lambda *done: rounds.append(done))
    assert rounds == [(0, 2), (1, 2)]
    kinds = [(row["mode"], row["alignment"], row["records"]) for row in result["rows"]]
    assert sorted(kinds) == sorted(
        (mode.value, alignment, records)
        for mode in WriteMode
        for alignment in ALIGNMENTS
        for records in GROUP_SIZES
    )
    for row in result["rows"]:
        assert row["groups"] == 6
        assert 0 < row["p50_us"] <= row["p99_us"] <= row["p999_us"]
        low, high = row["p50_us_rounds"]
        assert low <= high
        # The fields are rounded, each for itself.
        assert abs(row["cpu_us_per_record"] * row["records"] - row["cpu_us_per_group"]) < 1
        assert row["records_per_s"] >= row["groups_per_s"]
    assert json.loads(json.dumps(result)) == result
    assert list(tmp_path.iterdir()) == []

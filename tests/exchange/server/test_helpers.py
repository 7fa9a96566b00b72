"""A helper's process that ends: started again, and an alarm only where it failed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import structlog

from exchange.server import helpers
from exchange.server.helpers import HelperProcess
from tests.waiting import WITHIN_S


@pytest.mark.parametrize(("status", "level"), [(0, "info"), (3, "warning")])
async def test_only_one_that_failed_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, level: str
) -> None:
    monkeypatch.setattr(helpers, "RESTART_MIN_S", 0.01)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "soon_over.py").write_text(f"raise SystemExit({status})")
    helper = HelperProcess("what helps", ("soon_over",), ())
    with structlog.testing.capture_logs() as logs:
        await helper.start()
        try:
            async with asyncio.timeout(WITHIN_S):
                while not helper.restarts:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            await helper.stop()
    first = logs[0]
    assert (first["event"], first["status"], first["log_level"]) == (
        "what helps ended", status, level,
    )  # fmt: skip

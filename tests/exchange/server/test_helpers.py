"""A helper's process that ends: started again, and an alarm only where it failed."""

from __future__ import annotations

import asyncio
import os
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
    told = tmp_path / "group"
    (tmp_path / "soon_over.py").write_text(
        "import os, pathlib\n"
        f"pathlib.Path({str(told)!r}).write_text(str(os.getpgid(0)))\n"
        f"raise SystemExit({status})"
    )
    helper = HelperProcess("what helps", ("soon_over",), ())
    with structlog.testing.capture_logs() as logs:
        await helper.start()
        try:
            async with asyncio.timeout(WITHIN_S):
                while not helper.restarts:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            await helper.stop()
    assert int(told.read_text()) != os.getpgid(0)  # a Ctrl-C at a terminal does not reach it
    first = logs[0]
    assert (first["event"], first["status"], first["log_level"]) == (
        "what helps ended", status, level,
    )  # fmt: skip

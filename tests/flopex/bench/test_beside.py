"""What stands beside the orders per second; each part is tested by itself."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from flopex.bench import beside, exchange, recovery, rivals
from tests.flopex.cli.runner import run


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is: recovery has its figures from here, and the rivals' servers do not start."""

    def no_server(*_: Any) -> dict[str, Any]:
        raise RuntimeError("no server")

    monkeypatch.setattr(recovery, "run", lambda *_: {"replay_per_s": 3, "restart_s": 4.0})
    monkeypatch.setattr(rivals, "run", no_server)


def test_what_fails_loses_nothing_that_was_measured(tmp_path: Path) -> None:
    found = beside.measure_beside(tmp_path, lambda _: None)
    assert (found["replay_per_s"], found["restart_1m_s"]) == (3, 4.0)
    assert (found["postgres_per_s"], found["rivals"]) == (None, None)
    assert found["beside_errors"] == ["no server"]


def test_the_figures_are_printed_and_the_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []

    def unmeasured(settings: exchange.Settings, *_: Any) -> None:
        assert settings.beside is not None
        modes.append(stat.S_IMODE(settings.beside.stat().st_mode))

    monkeypatch.setattr(exchange, "_measure", unmeasured)
    done = run("bench", "exchange", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["restart_1m_s"] == 4.0
    assert "no server" in json.loads(done.stderr.splitlines()[-1])["error"]["message"]
    assert set(modes) == {0o711}  # a server that another user runs has a folder in it

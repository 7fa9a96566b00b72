"""Each conformance command starts from a checkout, explains itself, and refuses what is absent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {"binance": 1, "independent_reserve": 1, "italy": 2}
"""Name, and how many files it takes."""


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"tests.conformance.{name}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_where_the_files_come_from(name: str) -> None:
    helped = run(name, "--help")
    assert helped.returncode == 0
    assert f"python -m tests.conformance.{name}" in helped.stdout
    assert "https://github.com/" in helped.stdout
    assert "Exit status: 0" in helped.stdout


@pytest.mark.parametrize(("name", "files"), COMMANDS.items())
def test_absent_files_are_refused_with_status_2(name: str, files: int) -> None:
    refused = run(name, *["nowhere.csv.gz"] * files)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert "nowhere.csv.gz: there is no such file" in refused.stderr

"""Exports to files: whole or not at all, and words where there is no room."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from exchange import tables
from flopex.cli import market_export
from tests.flopex.cli.conftest import PAPER, Site

OLD = b"an earlier export\n"
EXPORT = ("market", "export", "trades", PAPER)
TRADE = (1, PAPER, 1, 1, 1, "bid")
MISSING = "no/such/folder/trades.csv"


def breaking(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the exchange fail after more rows than are written at once."""

    async def trades(client: Any, instrument: str) -> AsyncIterator[Sequence[object]]:
        for _ in range(2 * market_export.LINES_AT_ONCE):
            yield TRADE
        raise error

    monkeypatch.setattr(market_export, "_trades", trades)


@pytest.mark.parametrize("name", ["trades.csv", "trades.parquet"])
def test_a_wrong_name_leaves_the_earlier_file(site: Site, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    out.write_bytes(OLD)
    assert site.flopex("market", "export", "trades", "none", "--out", str(out)).code == 6
    assert out.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("name", ["trades.csv", "trades.parquet"])
@pytest.mark.parametrize(
    ("error", "code"),
    [(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1), (asyncio.CancelledError(), 130)],
)
def test_a_failure_halfway_leaves_the_earlier_file(
    *,
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    name: str,
) -> None:
    breaking(monkeypatch, error)
    out = tmp_path / name
    out.write_bytes(OLD)
    failed = site.flopex(*EXPORT, "--json", "--out", str(out))
    assert failed.code == code
    if code == 1:
        assert failed.error()["message"] == f"cannot write {out}: no space left on device"
    assert out.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [out]


def test_a_whole_export_takes_the_earlier_ones_place_and_a_link_stays(
    site: Site, tmp_path: Path
) -> None:
    out, link = tmp_path / "trades.csv", tmp_path / "link.csv"
    out.write_bytes(OLD)
    link.symlink_to(out.name)
    assert site.flopex(*EXPORT, "--out", str(link)).code == 0
    assert out.read_bytes().startswith(tables.csv_head(tables.TRADES))
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, out]


@pytest.mark.parametrize(
    ("name", "why"),
    [(MISSING, "no such file or directory"), ("", "is a directory")],
)
def test_what_cannot_be_written_is_said_in_words(
    site: Site, tmp_path: Path, name: str, why: str
) -> None:
    out = tmp_path / name
    failed = site.flopex(*EXPORT, "--json", "--out", str(out))
    assert failed.code == 1
    assert failed.error()["message"] == f"cannot write {out}: {why}"
    assert not list(tmp_path.iterdir())


def test_a_device_is_written_to_and_not_replaced(site: Site) -> None:
    full = Path("/dev/full")
    failed = site.flopex(*EXPORT, "--json", "--out", str(full))
    assert failed.code == 1
    assert failed.error()["message"] == "cannot write /dev/full: no space left on device"
    assert full.is_char_device()


def test_a_full_stdout_is_said_in_words_and_once(site: Site) -> None:
    environment = {
        **site.environment,
        "FLOPEX_TARGET": site.address,
        "FLOPEX_KEY": site.keys["ada"],
    }
    command = [sys.executable, "-m", "flopex", *EXPORT]
    with Path("/dev/full").open("wb") as full:
        failed = subprocess.run(
            command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert failed.returncode == 1
    assert failed.stderr == "error: cannot write stdout: no space left on device\n"


def test_stdout_gets_no_head_before_the_exchange_answered(site: Site) -> None:
    failed = site.flopex("market", "export", "trades", "none")
    assert (failed.code, failed.out) == (6, "")


def test_json_without_a_file_is_refused_for_it_would_be_csv(site: Site) -> None:
    failed = site.flopex(*EXPORT, "--json")
    assert (failed.code, failed.out) == (2, "")
    assert "--json needs --out" in failed.error()["message"]

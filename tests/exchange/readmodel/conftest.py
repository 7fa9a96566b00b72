"""Read models in both databases; PostgreSQL where its server is installed."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exchange.readmodel.database import sqlite_url

NOBODY = 65534
"""The server refuses to run as root; then it runs as this user."""


def postgres_binaries() -> Path | None:
    """The folder with initdb, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server of our own, on a Unix socket; skipped where none is installed."""
    pytest.importorskip("psycopg")
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    as_root = os.geteuid() == 0
    # Not in a folder of pytest's: nobody may enter those.
    folder = Path(tempfile.mkdtemp(prefix="flopex-postgres-"))
    if as_root:
        os.chown(folder, NOBODY, NOBODY)
    user = NOBODY if as_root else None

    def run(name: str, *arguments: str) -> None:
        subprocess.run(
            [str(binaries / name), *arguments],
            check=True,
            user=user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    data = folder / "data"
    run("initdb", "-D", str(data), "-U", "flopex", "--auth=trust", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    run("pg_ctl", "-D", str(data), "-l", str(folder / "log"), "-w", "-o", options, "start")
    try:
        yield f"postgresql://flopex@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder)


_numbers = itertools.count(1)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes an empty database and gives its URL."""
    if request.param == "sqlite":
        return lambda: sqlite_url(tmp_path / f"read-model-{next(_numbers)}.sqlite3")
    import psycopg

    server: str = request.getfixturevalue("postgres")

    def make() -> str:
        name = f"flopex{next(_numbers)}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return server.replace("/postgres?", f"/{name}?")

    return make

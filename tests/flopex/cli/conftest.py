"""An exchange and a worker as processes of their own, and a way to run commands against them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from exchange.client import AsyncClient, ClearingMode, Instrument, Settlement
from exchange.metering.cards import INSTANT
from tests.flopex.cli.runner import run
from tests.waiting import WITHIN_S

MODEL = "instant"
INTERACTIVE = "instant/cpu/interactive"
PAPER = "paper-h100"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    def object(self) -> Any:
        """The one JSON object of a query."""
        return json.loads(self.out)

    def lines(self) -> list[Any]:
        """The JSON objects of a stream."""
        return [json.loads(line) for line in self.out.splitlines()]

    def error(self) -> Any:
        return json.loads(self.err.splitlines()[-1])["error"]


def clean_environment(home: Path) -> dict[str, str]:
    """The machine's own settings must not reach a test."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FLOPEX_", "XDG_"))}
    return {**kept, "HOME": str(home), "COLUMNS": "160", "NO_COLOR": "1"}


@dataclass
class Site:
    """A running exchange with accounts, seen from the command line."""

    directory: Path
    environment: dict[str, str]
    address: str
    operator: str
    keys: dict[str, str]

    @property
    def data(self) -> str:
        return str(self.directory / "data")

    def flopex(self, *arguments: str, key: str = "ada", stdin: str = "") -> Result:
        """Run a command in this process; `key` is an account, `operator`, or empty for none."""
        environment: dict[str, str | None] = {
            **self.environment,
            "FLOPEX_TARGET": self.address,
            "FLOPEX_KEY": None,
            "XDG_DATA_HOME": str(self.directory / "home" / "data"),
        }
        if key:
            environment["FLOPEX_KEY"] = self.operator if key == "operator" else self.keys[key]
        done = run(*arguments, env=environment, stdin=stdin)
        return Result(done.exit_code, done.stdout, done.stderr)

    def admin(self, *arguments: str) -> Any:
        result = self.flopex("admin", *arguments, "--json", key="operator")
        assert result.code == 0, result.err
        return result.object()

    def start(self, *arguments: str, key: str) -> subprocess.Popen[str]:
        environment = dict(
            self.environment, FLOPEX_TARGET=self.address, FLOPEX_KEY=self.keys.get(key, "")
        )
        return start(self.directory, environment, *arguments)


def start(directory: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    with (directory / f"{arguments[0]}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "flopex", *arguments],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def read_line(process: subprocess.Popen[str]) -> str:
    """The process's next line of stdout; the suite's own timeout bounds the wait."""
    assert process.stdout is not None
    return process.stdout.readline()


def end(process: subprocess.Popen[str]) -> int:
    """Drain a process; its exit status."""
    process.terminate()
    try:
        process.communicate(timeout=WITHIN_S)
    finally:
        process.kill()
        process.wait()
    return process.returncode


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """Commands send logs to their stderr, which the runner closes: later tests log elsewhere."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    environment = clean_environment(directory / "home")
    serving = start(
        directory,
        environment,
        *("serve", "--json", "--data", "data", "--address", "127.0.0.1:0"),
        *("--http", "off", "--grace", "1", "--single-process", "--fresh-within", str(WITHIN_S)),
    )
    try:
        started = json.loads(read_line(serving))
        assert started["type"] == "started"
        operator = Path(started["operator_key_file"]).read_text().strip()
        made = Site(directory, environment, started["address"], operator, {})
        asyncio.run(_set_up(made))
        made.admin("instrument", PAPER, "--paper", "--tick", "10 nanos", "--max", "100000 nanos")
        yield made
    finally:
        assert end(serving) == 0


async def _set_up(site: Site) -> None:
    """Over the SDK: a command for each step would take a second each."""
    async with AsyncClient(site.address, site.operator) as operator:
        admin = operator.admin
        await admin.create_model(INSTANT.encode())
        await admin.create_instrument(
            Instrument(
                name=INTERACTIVE,
                model=MODEL,
                settlement=Settlement.LEASE,
                clearing_mode=ClearingMode.BATCH,
                tick_nanos=1,
                lot_mflop=1,
                price_min_nanos=1,
                price_max_nanos=10**9,
                quantity_max_mflop=10**9,
                prefill_millitokens_per_s=10**7,
                decode_millitokens_per_s=10**6,
                context_tokens_max=2_048,
                latest_start_ns=60 * 10**9,
            )
        )
        for name, role in (
            *(("ada", "trader"), ("poor", "trader"), ("owner", "worker")),
            *(("paper-ada", "trader"), ("paper-ben", "trader")),
        ):
            await admin.create_account(name, paper=name.startswith("paper"))
            site.keys[name] = (await admin.create_key(name, [role])).secret
            if name not in ("poor", "owner"):
                await admin.deposit(name, "$100")


@pytest.fixture(scope="session")
def worker(site: Site) -> Iterator[str]:
    """A worker that sells instant answers; its name."""
    process = site.start(
        *("worker", "run", "--name", "swift", "--engine", "instant", "--data", "data"),
        *("--instant-delay", "0.02", "--slots", "2", f"--quote={INTERACTIVE}=static:1000,2000"),
        key="owner",
    )
    try:
        give_up = time.monotonic() + WITHIN_S
        while (
            not (found := site.flopex("worker", "status", "--json", key="owner").object())[
                "workers"
            ]
            or not found["workers"][0]["quotes"]
        ):
            assert time.monotonic() < give_up, "the worker did not dial in"
            assert process.poll() is None, (site.directory / "worker.log").read_text()
            time.sleep(0.2)
        yield "swift"
    finally:
        assert end(process) == 0

"""Kill -9 by the hundred: `make torture CYCLES=1000 SEED=1`, or

    python -m tests.integration.torture --cycles 1000 --seed 1

Real servers, each a process of its own, under the load of real clients and workers, are killed at
random moments: while they serve, and while they start. Several exchanges one after the other are
killed `LIVES` times each, so that no start has long to replay. Prints what was done; at the first
finding it ends with exit status 1 and the command that tries the same exchange again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import grpc

from tests.integration.crash_site import CrashSite
from tests.integration.judging import judge
from tests.waiting import WITHIN_S

ROOT = Path(__file__).parents[2]
FUNDS = 10**12
"""What an account begins with, nano-dollars."""
LIVES = 50
"""Kills of one exchange."""
KILLED_AT_START = 0.2
"""Share of the lives that end before they have begun to serve, by chance."""
START_S = 0.15
"""Within this time such a life ends, seconds."""
SERVE_S = 0.5
"""Longest time for which the others serve, seconds."""


class Zygote:
    """Starts servers quickly: see `tests.integration.zygote`."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Let it import everything."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integration.zygote"),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

    async def server(self, site: CrashSite) -> int:
        """A new server of this site; its process id."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {
            "directory": str(site.data),
            "address": site.address,
            "secret": site.operator,
            "log": str(site.directory / "server.log"),
        }
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        return int(await self._process.stdout.readline())

    async def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            await self._process.wait()


class QuickSite(CrashSite):
    """A crash site whose servers come from a zygote."""

    def __init__(self, directory: Path, seed: int, zygote: Zygote) -> None:
        super().__init__(directory, seed)
        self._zygote = zygote
        self._pid = 0

    async def _launch(self) -> None:
        self._pid = await self._zygote.server(self)

    async def start(self) -> None:
        await self._launch()
        async with asyncio.timeout(2 * WITHIN_S):
            while True:
                if not _lives(self._pid):
                    log = (self.directory / "server.log").read_text()
                    raise AssertionError(f"the exchange did not start:\n{log[-3000:]}")
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await self.invariants()
                    return
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)
        self.kills += 1

    async def stop(self) -> None:
        await super().stop()
        if self._pid:
            await self._end(signal.SIGTERM)

    async def kill_at_start(self, after_s: float) -> None:
        """Start a server and kill it soon, however far it has come."""
        await self._launch()
        await asyncio.sleep(after_s)
        await self.kill()

    async def _end(self, number: signal.Signals) -> None:
        os.kill(self._pid, number)
        async with asyncio.timeout(WITHIN_S):
            while _lives(self._pid):  # noqa: ASYNC110 - nobody tells of another's child
                await asyncio.sleep(0.002)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def torture(directory: Path, cycles: int, seed: int) -> Counter[str]:
    """Kill so many times; what was done meanwhile.

    Raises:
        AssertionError: something that was acknowledged is gone, or happened twice.
    """
    total: Counter[str] = Counter()
    zygote = Zygote()
    await zygote.start()
    try:
        number = 0
        while (left := cycles - total["kills"]) > 0:
            kills = min(LIVES, left)
            folder = directory / f"site-{number}"
            folder.mkdir()
            try:
                total += await _torture_one(folder, kills, seed + number, zygote)
            except BaseException:
                _say(
                    f"seed {seed + number} fails: make torture CYCLES={kills} SEED={seed + number}"
                )
                raise
            number += 1
            _say(f"seed {seed + number - 1}: {dict(total)}")
    finally:
        await zygote.stop()
    return total


async def _torture_one(folder: Path, kills: int, seed: int, zygote: Zygote) -> Counter[str]:
    site = QuickSite(folder, seed, zygote)
    at_start = 0
    try:
        await site.start()
        await site.furnish()
        await site.hire(2)
        async with site.crowd():
            while site.kills < kills:
                await asyncio.sleep(site.random.uniform(0.02, SERVE_S))
                await site.kill()
                while site.kills < kills and site.random.random() < KILLED_AT_START:
                    await site.kill_at_start(site.random.uniform(0, START_S))
                    at_start += 1
                await site.start()
        await site.all_ended(within_s=10 * WITHIN_S)
        said = await site.invariants(full=True)
        buyer = await site.account("buyer")
    finally:
        await site.stop()
    told = site.told
    paid = sum(paid for _, paid in told.ended.values())
    assert buyer.balance_nanos == FUNDS + sum(told.deposits.values()) - paid
    assert buyer.pending_nanos == 0
    # A life that was killed at its start may not have come as far as an epoch of its own.
    judge(site.data / "journal", told, said, kills - at_start)
    return Counter(
        {
            "kills": kills,
            "of them at the start": at_start,
            "jobs told": len(told.jobs),
            "orders told": len(told.orders),
            "deposits told": len(told.deposits),
            "repeats": told.repeats,
            "records": said.journal_records,
        }
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Torture, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=20, help="kills")
    parser.add_argument("--seed", type=int, default=1, help="of the first exchange")
    options = parser.parse_args()
    began = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="torture-"))
    try:
        total = asyncio.run(torture(directory, options.cycles, options.seed))
    except Exception:
        traceback.print_exc()
        _say(f"journals and logs are in {directory}")
        return 1
    shutil.rmtree(directory)
    _say(
        f"torture: {dict(total)}: nothing that was acknowledged was lost, nothing happened twice, "
        f"{time.monotonic() - began:,.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

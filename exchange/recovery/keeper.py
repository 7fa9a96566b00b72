"""Who starts the follower: every so many records or minutes, one at a time, beside the engine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from exchange.processors import cpu_s
from exchange.recovery.digests import DigestFile, Published
from exchange.recovery.follower import SNAPSHOTS_KEPT, SNAPSHOTS_KEPT_MIN
from exchange.recovery.replay import Replica

SNAPSHOT_RECORDS: Final = 1_000_000
"""Records between two snapshots, unless set otherwise: some ten seconds of replay."""
SNAPSHOT_PERIOD_S: Final = 600.0
"""Seconds between two snapshots of an exchange that is not idle, unless set otherwise."""
GIVES_WAY_MAX_S: Final = 60.0
"""For so long a follower that gives way may get next to nothing; then comes one that does not."""
STARVED_SHARE: Final = 0.1
"""Of a processor: no more is next to nothing. So one that goes on takes ten times what it needs."""
SNAPSHOT_RECORDS_MIN: Final = 1_000
SNAPSHOT_PERIOD_MIN_S: Final = 1.0
LIVE_DIGEST_SIZE_MAX: Final = 1_000
"""Largest state, in things, whose digest the live engine takes between two groups: a few ms."""
LAST_DIGEST_SIZE_MAX: Final = 100_000
"""The same for the last digest, when the engine has stopped: some tenths of a second."""
EXIT_DIFFERS: Final = 3
"""Exit status of a follower that did not come to what the live engine published."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SnapshotConfig:
    """When snapshots are taken.

    Attributes:
        records: Commands from one to the next; 0: never.
        period_s: Seconds from one to the next while commands come in.
        keep: Newest snapshots that stay.

    Raises:
        ValueError: one of them is below its bound.
    """

    records: int = SNAPSHOT_RECORDS
    period_s: float = SNAPSHOT_PERIOD_S
    keep: int = SNAPSHOTS_KEPT

    def __post_init__(self) -> None:
        if self.records and self.records < SNAPSHOT_RECORDS_MIN:
            raise ValueError(f"{self.records} records are below {SNAPSHOT_RECORDS_MIN}")
        if self.period_s < SNAPSHOT_PERIOD_MIN_S:
            raise ValueError(f"{self.period_s} s are below {SNAPSHOT_PERIOD_MIN_S}")
        if self.keep < SNAPSHOTS_KEPT_MIN:
            raise ValueError(f"{self.keep} snapshots are below {SNAPSHOTS_KEPT_MIN}")


@dataclass(slots=True)
class SnapshotStats:
    """What became of the snapshots since the start.

    Attributes:
        taken: Snapshots that were stored.
        failed: Followers that ended otherwise.
        differs: Of those, the ones that found the live engine and a replay apart: an alarm.
        late: Followers that gave way, were starved, and were begun again.
        sequence: Of the last command in the newest snapshot.
        seconds: What the last one took, from its first follower's start.
    """

    taken: int = 0
    failed: int = 0
    differs: int = 0
    late: int = 0
    sequence: int = 0
    seconds: float = 0.0


def live_digests(replica: Replica, size_max: int) -> Published:
    """Where a core stands between two groups; its state's digest if the state is small enough."""
    core = replica.core
    state = core.digest() if core.size() <= size_max else None
    return Published(core.sequence, replica.outcomes, state)


class SnapshotKeeper:
    """Watches an engine's feed and starts followers. All methods belong to the engine's loop.

    Args:
        journal: The journal's folder.
        snapshots: The snapshots' folder.
        genesis: What the exchange started from.
        config: When.
        replica: The live engine's.
        sequence: Of the snapshot that the engine started from.
    """

    def __init__(
        self,
        journal: Path,
        snapshots: Path,
        genesis: bytes,
        config: SnapshotConfig,
        replica: Replica,
        sequence: int = 0,
    ) -> None:
        self.stats = SnapshotStats(sequence=sequence)
        self._command = (
            sys.executable, "-P", "-m", "exchange.recovery", str(journal), str(snapshots),
            "--genesis", genesis.hex(), "--keep", str(config.keep),
        )  # fmt: skip
        self._config = config
        self._replica = replica
        self._digests = DigestFile(snapshots)
        self._running: asyncio.Task[None] | None = None
        self._may_give_way = hasattr(os, "SCHED_IDLE")
        self._was_starved = False
        self._last_sequence = sequence
        self._last_s = _now_s()

    @property
    def running(self) -> bool:
        """Whether a follower is at work."""
        return self._running is not None

    def on_group(self, _: object) -> None:
        """Look whether a snapshot is due, at the end of a durable group."""
        if self._running is not None or not self._config.records:
            return
        records = self._replica.core.sequence - self._last_sequence
        if records < self._config.records and _now_s() - self._last_s < self._config.period_s:
            return
        self.start()

    def start(self) -> None:
        """Start a follower for the place where the engine stands, unless one is at work."""
        if self._running is not None:
            return
        live = live_digests(self._replica, LIVE_DIGEST_SIZE_MAX)
        self._publish(live)
        self._last_sequence, self._last_s = live.sequence, _now_s()
        self._running = asyncio.get_running_loop().create_task(self._follow(live))

    async def followed(self) -> None:
        """Return once no follower is at work."""
        if self._running is not None:
            await asyncio.wait([self._running])

    async def stop(self, *, publish: bool) -> None:
        """No more followers.

        Args:
            publish: Say where the engine stopped, for whoever replays its journal; not for one
                that failed, whose state may be ahead of its journal.
        """
        running = self._running
        if running is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        if publish:
            self._publish(live_digests(self._replica, LAST_DIGEST_SIZE_MAX))

    def _publish(self, line: Published) -> None:
        try:
            self._digests.publish(line)
        except OSError as error:
            _log.warning("the digests could not be published", error=str(error))

    async def _follow(self, live: Published) -> None:
        began = _now_s()
        try:
            status, reply = await self._take(live)
        except OSError as error:
            status, reply = -1, {"error": str(error)}
        finally:
            self._running = None
        stats = self.stats
        stats.seconds = _now_s() - began
        if status == 0:
            # Without a path somebody else, as an operator, had taken one that is as new.
            is_new = reply.get("path") is not None
            stats.taken += is_new
            stats.sequence = reply.get("sequence", live.sequence)
            said = "a snapshot was taken" if is_new else "there is such a snapshot already"
            _log.info(said, seconds=round(stats.seconds, 3), **reply)
            return
        stats.failed += 1
        if status == EXIT_DIFFERS:
            stats.differs += 1
            _log.critical("a replay of the journal differs from the live engine", **reply)
        else:
            _log.error("no snapshot was taken", status=status, sequence=live.sequence, **reply)

    async def _take(self, live: Published) -> tuple[int, dict[str, Any]]:
        """By a follower that gives way, unless the one before was starved; if it is, by another."""
        gives_way, self._was_starved = self._may_give_way and not self._was_starved, False
        if gives_way:
            try:
                return await self._run(live, gives_way=True)
            except _Starved:
                self._was_starved = True
                self.stats.late += 1
                _log.warning("a snapshot is late: no processor is idle", sequence=live.sequence)
        return await self._run(live, gives_way=False)

    async def _run(self, live: Published, *, gives_way: bool) -> tuple[int, dict[str, Any]]:
        given = ["--sequence", str(live.sequence), "--outcomes", live.outcomes.hex()]
        if gives_way:
            given.append("--gives-way")
        if live.state is not None:
            given += ["--state", live.state.hex()]
        process = await asyncio.create_subprocess_exec(
            *self._command, *given, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
        ending = asyncio.ensure_future(process.communicate())
        try:
            if gives_way:
                await _watch(process.pid, ending)
            said, _ = await ending
        except BaseException:
            # What it has written so far has no name, and the next one removes it.
            ending.cancel()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return process.returncode, _reply(said)


class _Starved(Exception):
    """A follower that gives way got next to nothing of a processor."""


async def _watch(pid: int, ending: asyncio.Future[Any]) -> None:
    """Return once the follower has ended.

    Raises:
        _Starved: it had no more than `STARVED_SHARE` of a processor for `GIVES_WAY_MAX_S`.
    """
    before_s = 0.0
    while not ending.done():
        await asyncio.wait([ending], timeout=GIVES_WAY_MAX_S)
        try:
            used_s = cpu_s(pid)
        except OSError:
            return  # it has ended
        if not ending.done() and used_s - before_s <= STARVED_SHARE * GIVES_WAY_MAX_S:
            raise _Starved
        before_s = used_s


def _reply(said: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(said, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {"error": said.decode(errors="replace").strip() or "it said nothing"}


def _now_s() -> float:
    return asyncio.get_running_loop().time()

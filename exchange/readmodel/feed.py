"""The journal, read along and turned into rows: exactly once, in batches, never on the hot path.

The journal holds commands. Events come of applying them, so the feed has a core of its own, beside
the engine's: the engine pays nothing for it and does not know of it, whether it shares a process
with the gateway or not. What is written moves together with the sequence up to which it is
complete, so a feed that is killed anywhere goes on where its last transaction ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol, Self

import structlog

from exchange.core.commands import Command, decode
from exchange.core.events import AnyEvent
from exchange.core.exchange import Exchange
from exchange.core.limits import RULES_VERSION
from exchange.journal import (
    JournalFollower,
    JournalVersionMismatch,
    Position,
    SnapshotStore,
    rules_since,
)
from exchange.processors import pause
from exchange.readmodel import queries
from exchange.readmodel.best_prices import BestPrices, Sampler
from exchange.readmodel.database import Database
from exchange.readmodel.errors import (
    ReadModelBeforeUpgrade,
    ReadModelMoved,
    ReadModelOfAnother,
)
from exchange.readmodel.progress import (
    START,
    Progress,
    make_tables,
    move_progress,
    read_progress,
)
from exchange.readmodel.projector import Projector
from exchange.readmodel.schema import ACCOUNTS, insert_statement
from exchange.recovery import GENESIS, recover

POLL_GROUPS: Final = 16
"""Commit groups read at a time."""
BATCH_ROWS_MAX: Final = 20_000
"""Rows after which a transaction takes in no more than the groups that were read already."""

_log = structlog.get_logger(__name__)


class Watcher(Protocol):
    """Sees commit groups as `exchange.readmodel.projector.Projector.take` does."""

    def take(
        self,
        first_sequence: int,
        now_ns: int,
        commands: Sequence[Command],
        events: Iterable[Sequence[AnyEvent]],
    ) -> None:
        """One commit group."""


class Feed:
    """Brings a read model to the end of a journal, and keeps it there. One thread's.

    After an error it is of no use any more: open another. Use `Feed.open`.
    """

    def __init__(
        self, journal: JournalFollower, core: Exchange, database: Database, progress: Progress
    ) -> None:
        self._journal = journal
        self._core = core
        self._database = database
        self._progress = progress
        self._watchers: list[Watcher] = []
        self._behind = False
        self._projector = Projector()
        self._projector.load(database, progress.time_ns, progress.entries, progress.trades)
        self._sampler = Sampler(progress.time_ns, _latest_prices(database, core))

    @classmethod
    def open(cls, directory: Path, database: Database, snapshots: Path | None = None) -> Self:
        """Become the read model's one writer, and find where it was.

        One that was fed from another journal, or under other rules, is begun anew.

        Args:
            directory: The journal's folder.
            database: Not read-only; it stays the caller's to close.
            snapshots: The snapshots' folder: what lies before one of them need not be replayed.

        Raises:
            ReadModelLocked: another process feeds it.
            ReadModelBeforeUpgrade: it lacks what only an earlier release can replay.
            ReadModelUnavailable: the database failed.
            JournalError: the journal cannot be read.
        """
        database.lock()
        progress = read_progress(database)
        if progress is not None and not progress.sequence:
            return cls.begin(directory, database)
        if progress is not None and progress.usable:
            try:
                journal, core = replay_to(directory, progress, snapshots)
                return cls(journal, core, database, progress)
            except ReadModelOfAnother as error:
                _log.warning("the read model is begun anew", reason=str(error))
        elif progress is not None:
            _log.warning(
                "the read model is begun anew",
                reason="its tables or the rules have changed",
                schema_version=progress.schema_version,
                rules_version=progress.rules_version,
            )
        return cls.begin(directory, database)

    @classmethod
    def begin(cls, directory: Path, database: Database) -> Self:
        """Empty the read model and begin with the journal's first command; the lock is held.

        Raises:
            ReadModelBeforeUpgrade: only an earlier release can replay the beginning. It stays.
            ReadModelUnavailable: the database failed.
            JournalError: the journal cannot be read.
        """
        journal, core = replay_to(directory, START)
        with database.transaction():
            make_tables(database)
            # The world's own accounts were there before the first command.
            rows = [(a.account_id, int(a.kind), a.name, 0, 0) for a in core.accounts.values()]
            database.change_many(insert_statement(ACCOUNTS), rows)
        return cls(journal, core, database, START)

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        return self._progress

    @property
    def core(self) -> Exchange:
        """The state at that sequence, to look at."""
        return self._core

    @property
    def behind(self) -> bool:
        """Whether the last `step` ended with its batch, and not with the journal."""
        return self._behind

    def watch(self, watcher: Watcher) -> None:
        """Show it every commit group from now on, once; what it makes of it is its own affair."""
        self._watchers.append(watcher)

    def has_news(self) -> bool:
        """Whether `step` may find something."""
        return self._journal.has_news()

    def step(self) -> int:
        """Take in what the journal has now, at most one batch; how many commands it was.

        Raises:
            ReadModelMoved: somebody else wrote to it.
            ReadModelUnavailable: the database failed.
            JournalError: the journal cannot be read.
        """
        core, projector = self._core, self._projector
        before = core.sequence
        while True:
            groups = self._journal.poll(POLL_GROUPS)
            for group in groups:
                commands = decode(group.payload)
                events = core.apply_records(group.payload)
                projector.take(group.first_sequence, core.now_ns, commands, events)
                for instrument_id, prices in self._sampler.look(core):
                    projector.take_best_prices(instrument_id, core.now_ns, prices)
                for watcher in self._watchers:
                    watcher.take(group.first_sequence, core.now_ns, commands, events)
                pause()
            self._behind = len(groups) == POLL_GROUPS
            if not self._behind or projector.rows >= BATCH_ROWS_MAX:
                break
        if core.sequence > before:
            self._commit()
        return core.sequence - before

    def run_to_end(self) -> None:
        """Take in all that the journal holds now; errors as `step`."""
        while self.step():
            pass

    def verify(self) -> None:
        """Go on only where nobody else has written.

        Raises:
            ReadModelMoved: somebody has: it was emptied, to be made again.
            ReadModelUnavailable: the database failed.
        """
        if read_progress(self._database) != self._progress:
            raise ReadModelMoved("somebody else has written to the read model")

    def close(self) -> None:
        """Close the journal; the database is the caller's."""
        self._journal.close()

    def _commit(self) -> None:
        core, projector = self._core, self._projector
        now = START._replace(
            sequence=core.sequence,
            time_ns=core.now_ns,
            entries=projector.entries,
            trades=projector.trades,
            chain_hash=self._journal.chain_hash,
        )
        with self._database.transaction():
            move_progress(self._database, self._progress.sequence, now)
            projector.write(self._database)
        self._progress = now


def _latest_prices(database: Database, core: Exchange) -> dict[int, BestPrices]:
    """The best prices that the tables hold last, by instrument."""
    found = {}
    for instrument_id in core.instruments:
        for row in queries.best_prices(database, instrument_id, 1):
            found[instrument_id] = BestPrices(*row[1:])
    return found


def replay_to(
    directory: Path, progress: Progress, snapshots: Path | None = None
) -> tuple[JournalFollower, Exchange]:
    """The state where a read model is, and the journal open at what comes next.

    O(journal), or O(state + what came after the last snapshot before that).

    Raises:
        ReadModelOfAnother: the journal ends before that, or holds something else up to there.
        ReadModelBeforeUpgrade: what leads there is under older rules.
        JournalError: the journal cannot be read.
    """

    def open_journal(anchor: Position | None) -> JournalFollower:
        return JournalFollower(directory, rules_version=RULES_VERSION, anchor=anchor)

    store = SnapshotStore(snapshots) if snapshots is not None else None
    try:
        started = recover(store, GENESIS, open_journal, before=progress.sequence + 1)
    except JournalVersionMismatch as error:
        since = rules_since(directory, RULES_VERSION)
        if since is None:
            raise
        raise ReadModelBeforeUpgrade(progress.sequence, since) from error
    journal, core = started.log, started.replica.core
    try:
        while groups := journal.poll(POLL_GROUPS, up_to=progress.sequence):
            for group in groups:
                core.apply_records(group.payload)
        if core.sequence != progress.sequence:
            raise ReadModelOfAnother(
                f"the journal holds {core.sequence} commands up to there, the read model "
                f"{progress.sequence}"
            )
        if progress.sequence and journal.chain_hash != progress.chain_hash:
            raise ReadModelOfAnother("it was fed from another journal")
    except BaseException:
        journal.close()
        raise
    return journal, core

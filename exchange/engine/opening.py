"""How an engine comes to its state: a snapshot, the journal's tail, and a new epoch behind it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import structlog

from exchange.core.commands import Recovered
from exchange.core.exchange import Exchange
from exchange.core.limits import RULES_VERSION
from exchange.core.recorded import Recorded
from exchange.engine.types import Clock, Group, Outcomes, Subscriber
from exchange.journal import (
    FIRST_SEQUENCE,
    SEGMENT_BYTES,
    GroupRecord,
    JournalNotReplayed,
    LocalLog,
    LogStore,
    Position,
    SnapshotStore,
    TornTail,
)
from exchange.journal.files import OsFileSystem
from exchange.journal.writers import WRITE_MODE, WriteMode
from exchange.recovery import (
    GENESIS,
    Comparison,
    Differs,
    DigestFile,
    Replica,
    Started,
    collecting_paused,
    recover,
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Where the journal is and how it is kept.

    Attributes:
        directory: The journal's folder; made if it does not exist.
        segment_bytes: Size of a journal segment, bytes.
        write_mode: How the journal's groups become durable, where the file system has that way.
        genesis: What the exchange started from; the hash chain begins with it.
        cut_damaged_tail: The operator's decision to give up a damaged last group.
        snapshots: The snapshots' folder; None for a start from the journal alone.
        collect_divisor: After a commit, the next collects for this part of the time its sync took.
        prepare_in_thread: Whether a thread writes the journal's next segment, and no group waits
            for it (docs/adr/0046).
    """

    directory: Path
    segment_bytes: int = SEGMENT_BYTES
    write_mode: WriteMode = WRITE_MODE
    genesis: bytes = GENESIS
    cut_damaged_tail: bool = False
    snapshots: Path | None = None
    collect_divisor: int = 1
    prepare_in_thread: bool = False


@dataclass(frozen=True, slots=True)
class Recovery:
    """What start-up found.

    Attributes:
        records: Commands that were replayed, from the snapshot on.
        replayed_from: The first of them; those before it were seen by no reader along.
        torn_tail: A group whose writing was cut off; it was never acknowledged.
        outage_ns: From the last journalled time to the start, nanoseconds.
        elapsed_s: How long reading and replaying took, seconds.
        snapshot: Which snapshot was loaded; None for none.
        refused: Why newer snapshots were not taken.
        differs: How the replay differs from what the engine before had published: an alarm. Empty
            where it does not.
    """

    records: int
    torn_tail: TornTail | None
    outage_ns: int
    elapsed_s: float
    snapshot: Path | None = None
    refused: tuple[str, ...] = ()
    differs: str = ""
    replayed_from: int = FIRST_SEQUENCE


class Opened(NamedTuple):
    """A state with the journal open behind it, in an epoch of its own."""

    replica: Replica
    log: LogStore
    recovery: Recovery


def open_state(
    config: EngineConfig,
    clock: Clock,
    on_replay: Subscriber | None,
    log: LogStore | None,
    replay_from: int,
) -> Opened:
    """See `Engine.open`."""
    began = time.monotonic()
    started = _started(config, log, replay_from if on_replay is not None else None)
    replica, log = started.replica, started.log
    for reason in started.refused:
        _log.warning("a snapshot was not used", reason=reason)
    try:
        with collecting_paused():
            differs = _replay(config, started, on_replay)
        core = replica.core
        outage_ns = max(0, clock.now_ns() - core.now_ns) if core.sequence else 0
        if core.sequence:
            group = _begin_epoch(replica, log, outage_ns)
            if on_replay is not None:
                on_replay(group)
    except BaseException:
        log.close()
        raise
    records = max(0, core.sequence - started.next_sequence)  # the new epoch's own is none of them
    torn = log.recovered.torn_tail if isinstance(log, LocalLog) else None
    elapsed_s = time.monotonic() - began
    recovery = Recovery(
        records,
        torn,
        outage_ns,
        elapsed_s,
        started.snapshot,
        started.refused,
        differs,
        started.next_sequence,
    )
    return Opened(replica, log, recovery)


def _started(
    config: EngineConfig, log: LogStore | None, replay_from: int | None
) -> Started[LogStore]:
    if log is not None:
        return Started(Replica(Exchange()), log, FIRST_SEQUENCE, None, ())

    def open_log(start: Position | None) -> LogStore:
        return LocalLog(
            config.directory,
            rules_version=RULES_VERSION,
            genesis=config.genesis,
            segment_bytes=config.segment_bytes,
            cut_damaged_tail=config.cut_damaged_tail,
            files=OsFileSystem(config.write_mode),
            start=start,
        )

    store = SnapshotStore(config.snapshots) if config.snapshots is not None else None
    return recover(store, config.genesis, open_log, before=replay_from)


def _replay(config: EngineConfig, started: Started[LogStore], on_replay: Subscriber | None) -> str:
    """Apply the tail; how it differs from what was published, or an empty string."""
    digests = DigestFile(config.snapshots) if config.snapshots is not None else None
    comparison = Comparison(digests.read() if digests else ())
    differs = ""
    for record in started.log.read_from(started.next_sequence):
        try:
            group = apply(started.replica, record.first_sequence, record.payload)
        except MemoryError:
            raise  # of this machine, not of this group
        except Exception as error:
            last_sequence = record.next_sequence - 1
            raise JournalNotReplayed(record.first_sequence, last_sequence, error) from error
        if on_replay is not None:
            on_replay(group)
        try:
            comparison.check(started.replica)
        except Differs as error:
            _log.critical("the replay differs from the engine before", error=str(error))
            differs = differs or str(error)
    if digests is not None:
        digests.forget()
    return differs


def apply(replica: Replica, first_sequence: int, records: bytes) -> Group:
    """Apply one group."""
    events = replica.apply(first_sequence, records)
    return Group(Recorded(records), Outcomes(first_sequence, replica.core.now_ns, events))


def _begin_epoch(replica: Replica, log: LogStore, outage_ns: int) -> Group:
    """Timers move by the outage before anything may fire, so this group has no Advance."""
    core = replica.core
    command = Recovered(core.epoch + 1, outage_ns)
    first_sequence = core.sequence + 1
    record = command.encode()
    group = apply(replica, first_sequence, record)
    log.append(GroupRecord(first_sequence, 1, core.epoch, record))
    return group

"""The journal: framed groups of records, checksummed and chained, durable before acknowledged.

It stores bytes and knows nothing of what they mean. `LocalLog` writes and recovers,
`verify_journal`, `read_journal` and `JournalFollower` read without the lock, `backup_journal` and
`restore_journal` copy, `SnapshotStore` keeps states beside it. The layout on disk is described
in `exchange.journal.format`, the errors in `exchange.journal.errors`.
"""

from exchange.journal.backup import backup_journal, restore_journal
from exchange.journal.errors import (
    JournalBehind,
    JournalClosed,
    JournalDamaged,
    JournalEpochStale,
    JournalError,
    JournalGenesisMismatch,
    JournalGroupTooLarge,
    JournalLocked,
    JournalMismatch,
    JournalMissing,
    JournalNotFound,
    JournalNotReplayed,
    JournalOutOfOrder,
    JournalPoisoned,
    JournalReadFailed,
    JournalRefused,
    JournalStartMismatch,
    JournalTargetExists,
    JournalVersionMismatch,
    JournalWriteFailed,
    SnapshotDamaged,
    SnapshotsBusy,
)
from exchange.journal.format import (
    FIRST_SEQUENCE,
    FORMAT_VERSION,
    GROUP_BYTES_MAX,
    GROUP_COUNT_MAX,
    SEGMENT_BYTES,
    GroupRecord,
    Position,
)
from exchange.journal.log import LocalLog
from exchange.journal.reader import (
    JournalFollower,
    has_journal,
    read_journal,
    rules_since,
    verify_journal,
)
from exchange.journal.segment import TornTail
from exchange.journal.snapshots import Snapshot, SnapshotHead, SnapshotStore, head_of
from exchange.journal.store import LogStore
from exchange.journal.walk import JournalStat, JournalWalk, SegmentStat, genesis_digest

__all__ = [
    "FIRST_SEQUENCE",
    "FORMAT_VERSION",
    "GROUP_BYTES_MAX",
    "GROUP_COUNT_MAX",
    "SEGMENT_BYTES",
    "GroupRecord",
    "JournalBehind",
    "JournalClosed",
    "JournalDamaged",
    "JournalEpochStale",
    "JournalError",
    "JournalFollower",
    "JournalGenesisMismatch",
    "JournalGroupTooLarge",
    "JournalLocked",
    "JournalMismatch",
    "JournalMissing",
    "JournalNotFound",
    "JournalNotReplayed",
    "JournalOutOfOrder",
    "JournalPoisoned",
    "JournalReadFailed",
    "JournalRefused",
    "JournalStartMismatch",
    "JournalStat",
    "JournalTargetExists",
    "JournalVersionMismatch",
    "JournalWalk",
    "JournalWriteFailed",
    "LocalLog",
    "LogStore",
    "Position",
    "SegmentStat",
    "Snapshot",
    "SnapshotDamaged",
    "SnapshotHead",
    "SnapshotStore",
    "SnapshotsBusy",
    "TornTail",
    "backup_journal",
    "genesis_digest",
    "has_journal",
    "head_of",
    "read_journal",
    "restore_journal",
    "rules_since",
    "verify_journal",
]

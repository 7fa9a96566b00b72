"""The journal: framed groups of records, checksummed and chained, durable before acknowledged.

It stores bytes and knows nothing of what they mean. `LocalLog` writes and recovers,
`verify_journal`, `read_journal` and `JournalFollower` read without the lock, `backup_journal` and
`restore_journal` copy. The layout on disk is described in `exchange.journal.format`, the errors in
`exchange.journal.errors`.
"""

from exchange.journal.backup import backup_journal, restore_journal
from exchange.journal.errors import (
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
    JournalOutOfOrder,
    JournalPoisoned,
    JournalReadFailed,
    JournalRefused,
    JournalTargetExists,
    JournalVersionMismatch,
    JournalWriteFailed,
)
from exchange.journal.format import (
    FIRST_SEQUENCE,
    FORMAT_VERSION,
    GROUP_BYTES_MAX,
    GROUP_COUNT_MAX,
    SEGMENT_BYTES,
    GroupRecord,
)
from exchange.journal.log import LocalLog, LogStore
from exchange.journal.reader import (
    JournalFollower,
    has_journal,
    read_journal,
    verify_journal,
)
from exchange.journal.segment import TornTail
from exchange.journal.walk import JournalStat, SegmentStat

__all__ = [
    "FIRST_SEQUENCE",
    "FORMAT_VERSION",
    "GROUP_BYTES_MAX",
    "GROUP_COUNT_MAX",
    "SEGMENT_BYTES",
    "GroupRecord",
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
    "JournalOutOfOrder",
    "JournalPoisoned",
    "JournalReadFailed",
    "JournalRefused",
    "JournalStat",
    "JournalTargetExists",
    "JournalVersionMismatch",
    "JournalWriteFailed",
    "LocalLog",
    "LogStore",
    "SegmentStat",
    "TornTail",
    "backup_journal",
    "has_journal",
    "read_journal",
    "restore_journal",
    "verify_journal",
]

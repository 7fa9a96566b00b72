"""From a journal to a state, and back to a snapshot: replay, start-up, and the follower.

`recover` is how an engine starts: the newest good snapshot, then the journal's tail. `follow` takes
the next snapshot by replaying the journal from the last one, in a process of its own, and holds
what comes out against the digests that the live engine has published. See
docs/internals/snapshots.md.
"""

from exchange.recovery.cut import Cut, CutRefused, cut_last_group, last_group
from exchange.recovery.digests import Comparison, Differs, DigestFile, Published
from exchange.recovery.follower import SNAPSHOTS_KEPT, Taken, follow
from exchange.recovery.keeper import SnapshotConfig, SnapshotKeeper, SnapshotStats
from exchange.recovery.replay import Replica, collecting_paused
from exchange.recovery.retention import Pruned, PruneRefused, prune
from exchange.recovery.start import GENESIS, Started, recover
from exchange.recovery.trial import Trial, try_group
from exchange.recovery.upgrade import Upgraded, UpgradeRefused, upgrade

__all__ = [
    "GENESIS",
    "SNAPSHOTS_KEPT",
    "Comparison",
    "Cut",
    "CutRefused",
    "Differs",
    "DigestFile",
    "PruneRefused",
    "Pruned",
    "Published",
    "Replica",
    "SnapshotConfig",
    "SnapshotKeeper",
    "SnapshotStats",
    "Started",
    "Taken",
    "Trial",
    "UpgradeRefused",
    "Upgraded",
    "collecting_paused",
    "cut_last_group",
    "follow",
    "last_group",
    "prune",
    "recover",
    "try_group",
    "upgrade",
]

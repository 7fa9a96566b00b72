"""Everything that can go wrong with a journal.

JournalError
├── JournalLocked            another process writes to this journal
├── JournalClosed            used after close()
├── JournalNotFound          there is no journal in this folder
│   └── JournalMissing       there was one: what belongs to it is still there
├── JournalTargetExists      a backup or a restore would overwrite something
├── JournalRefused           this group is not written; the journal stays usable
│   ├── JournalOutOfOrder    wrong first sequence
│   ├── JournalEpochStale    written by an engine that has been replaced
│   └── JournalGroupTooLarge over the bound, or empty
├── JournalMismatch          a good journal, but not the one that was asked for
│   ├── JournalVersionMismatch
│   ├── JournalGenesisMismatch
│   └── JournalStartMismatch another history than the snapshot's
├── JournalBehind            it ends before a state that was made of it
├── SnapshotDamaged          a snapshot is not what was written
├── SnapshotsBusy            another process writes snapshots of this journal
├── JournalDamaged           stored bytes are not what was written
├── JournalNotReplayed       the bytes are what was written, and applying them fails
├── JournalReadFailed        the device returned an error
└── JournalWriteFailed       the device returned an error; the writer must stop
    └── JournalPoisoned      a write after one that failed
"""

from __future__ import annotations

from pathlib import Path


class JournalError(Exception):
    """Base of all errors of this package."""


class JournalLocked(JournalError):
    """Another process holds the journal's lock."""

    def __init__(self, path: Path, holder: str) -> None:
        self.path = path
        self.holder = holder
        super().__init__(
            f"the journal in {path.parent} is in use by process {holder or 'unknown'}: stop that "
            f"process first; do not delete {path.name}, two writers would destroy the journal"
        )


class JournalClosed(JournalError):
    """The log was closed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        super().__init__(f"the journal in {directory} was closed: open it again")


class JournalNotFound(JournalError):
    """No segment lies in the folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        super().__init__(f"there is no journal in {directory}: check the data directory's name")


class JournalMissing(JournalNotFound):
    """The journal is gone, and beginning a new one would forget everything it said.

    Attributes:
        traces: What shows that an exchange has run here.
    """

    def __init__(self, directory: Path, traces: list[Path]) -> None:
        self.directory = directory
        self.traces = traces
        JournalError.__init__(
            self,
            f"there is no journal in {directory}, but {' and '.join(map(str, traces))} shows that "
            "an exchange has run here: put its files back or restore a backup into another data "
            "directory; for a new exchange name a data directory that does not exist yet",
        )


class JournalTargetExists(JournalError):
    """The place that a copy would be written to is not empty."""

    def __init__(self, target: Path) -> None:
        self.target = target
        super().__init__(f"{target} is not empty: name a folder that does not exist yet")


class JournalRefused(JournalError):
    """The group was not written and the log is as it was before."""


class JournalOutOfOrder(JournalRefused):
    """A group must begin with the next sequence number."""

    def __init__(self, expected: int, found: int) -> None:
        self.expected = expected
        self.found = found
        super().__init__(
            f"a group that begins at sequence {found} does not follow: the next is {expected}; "
            "replay the journal before writing to it"
        )


class JournalEpochStale(JournalRefused):
    """A later epoch has already written here."""

    def __init__(self, epoch: int, newest: int) -> None:
        self.epoch = epoch
        self.newest = newest
        super().__init__(
            f"epoch {epoch} is older than {newest}, which has written to this journal: "
            "this engine was replaced and must stop"
        )


class JournalGroupTooLarge(JournalRefused):
    """A group's bytes or its number of records are outside the bounds."""


class JournalMismatch(JournalError):
    """The journal is whole, but it is not the one that was asked for."""


class JournalVersionMismatch(JournalMismatch):
    """Written under another file format or other rules."""

    def __init__(self, path: Path, what: str, found: int, wanted: int) -> None:
        self.path = path
        self.what = what
        self.found = found
        self.wanted = wanted
        super().__init__(
            f"{path} has {what} {found}, this program needs {wanted}: run the release that wrote "
            "it; or, to upgrade, stop the exchange of that release, let that release take a last "
            "snapshot (flopex journal snapshot), and run flopex journal upgrade of this one"
        )


class JournalGenesisMismatch(JournalMismatch):
    """Started from another genesis, so it belongs to another exchange."""

    def __init__(self, path: Path, found: bytes, wanted: bytes) -> None:
        self.path = path
        self.found = found
        self.wanted = wanted
        super().__init__(
            f"{path} was started from genesis {found.hex()[:16]}, not {wanted.hex()[:16]}: "
            "it belongs to another exchange; check the data directory and the configuration"
        )


class JournalStartMismatch(JournalMismatch):
    """The journal does not come by the place at which a snapshot says that it stands."""

    def __init__(self, directory: Path, sequence: int) -> None:
        self.directory = directory
        self.sequence = sequence
        super().__init__(
            f"the journal in {directory} has another history up to sequence {sequence} than the "
            "snapshot: one of the two comes from another exchange or another copy of it"
        )


class JournalBehind(JournalError):
    """The journal ends before a snapshot that was taken of it: commands are gone."""

    def __init__(self, directory: Path, last_sequence: int, sequence: int) -> None:
        self.directory = directory
        self.last_sequence = last_sequence
        self.sequence = sequence
        super().__init__(
            f"the journal in {directory} ends at sequence {last_sequence}, and a snapshot says "
            f"that it went up to {sequence}: acknowledged commands are missing; put the segments "
            "back or restore a backup; to give those commands up, move the snapshot away"
        )


class SnapshotDamaged(JournalError):
    """A snapshot's bytes are not what was written.

    Attributes:
        path: The snapshot.
        reason: What does not fit.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"the snapshot {path} is damaged: {reason}")


class SnapshotsBusy(JournalError):
    """Another process writes or removes snapshots of this journal."""

    def __init__(self, directory: Path, holder: str) -> None:
        self.directory = directory
        self.holder = holder
        super().__init__(
            f"process {holder or 'unknown'} is at work on the snapshots in {directory}: wait for it"
        )


class JournalDamaged(JournalError):
    """Stored bytes are not what was written.

    Attributes:
        path: The segment.
        offset: Where the damaged region begins, in bytes from the start of the file.
        length: How long that region is, in bytes (it is what one checksum covers).
        reason: What does not fit.
        last_group: Whether nothing good follows, so that at most one group is lost.
    """

    def __init__(
        self, path: Path, offset: int, reason: str, *, length: int = 1, last_group: bool = False
    ) -> None:
        self.path = path
        self.offset = offset
        self.length = length
        self.reason = reason
        self.last_group = last_group
        advice = (
            "this is the last group, and it was written whole, so it may have been acknowledged: "
            "restore a backup, or open with cut_damaged_tail to give that one group up"
            if last_group
            else "do not start on it: keep the files, and restore a backup or a replica"
        )
        super().__init__(
            f"{path} is damaged in the {length} bytes at offset {offset}: {reason}; {advice}"
        )


class JournalNotReplayed(JournalError):
    """A group is whole, and applying it breaks an invariant.

    Attributes:
        first_sequence: Of the group.
        last_sequence: Of the group.
    """

    def __init__(self, first_sequence: int, last_sequence: int, cause: Exception) -> None:
        self.first_sequence = first_sequence
        self.last_sequence = last_sequence
        super().__init__(
            f"the group of sequences {first_sequence} to {last_sequence} cannot be applied: "
            f"{type(cause).__name__}: {cause}; keep the directory as it is and report this. If it "
            "is the last group, and the exchange ended while it applied it, nobody was told of it, "
            "and 'flopex journal cut' gives it up"
        )


class JournalReadFailed(JournalError):
    """The device returned an error on reading."""

    def __init__(self, path: Path, cause: OSError) -> None:
        self.path = path
        super().__init__(
            f"cannot read {path}: {cause.strerror or cause}; check the device, then start again"
        )


class JournalWriteFailed(JournalError):
    """The device returned an error; whether the group is on it is not known.

    The group was not acknowledged; a restart may find it, whole, or not. Nothing can be written
    after it: stop the process, and let recovery decide.
    """

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        self.path = path
        self.offset = offset
        self.reason = reason
        super().__init__(
            f"writing {path} at offset {offset} failed: {reason}; stop the engine, check the "
            "device and its free space, then start again"
        )


class JournalPoisoned(JournalWriteFailed):
    """An earlier write failed, so this one was not tried."""

"""What an engine asks of where its commands are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from exchange.journal.format import GroupRecord


class LogStore(Protocol):
    """Where an engine's commands become durable. One writer; what is stored is bytes."""

    @property
    def next_sequence(self) -> int:
        """The sequence number that the next group must begin with."""

    @property
    def epoch(self) -> int:
        """The newest epoch that has written here; 0 before the first."""

    @property
    def chain_hash(self) -> bytes:
        """Vouches for all groups so far."""

    def append(self, group: GroupRecord) -> None:
        """Store a group; on return it is durable. As `begin` and `finish`, and raises what they do.

        Raises:
            JournalRefused: It was not written, and the log is as it was.
            JournalWriteFailed: Whether it was written is unknown; nothing more can be.
        """

    def begin(self, group: GroupRecord) -> None:
        """Take a group to be stored; where the log can, it is written while the caller goes on.

        Raises:
            JournalRefused: It was not written, and the log is as it was.
            JournalWriteFailed: Whether it was written is unknown; nothing more can be.
        """

    def finish(self) -> None:
        """Return once the group that was begun is durable.

        Raises:
            JournalWriteFailed: Whether it was written is unknown; nothing more can be.
        """

    def take_back(self) -> None:
        """Instead of `finish`: the group is not stored, and nothing more can be.

        Raises:
            JournalWriteFailed: Whether it was written is unknown.
        """

    def read_from(self, sequence: int) -> Iterator[GroupRecord]:
        """All groups from the one that holds `sequence` on, in order, checked again."""

    @property
    def wants_preparing(self) -> bool:
        """Whether an idle moment is well spent on `prepare`."""

    @property
    def must_prepare(self) -> bool:
        """Whether `prepare` can wait for an idle moment no longer."""

    def prepare(self) -> bool:
        """Do a bounded part of what later groups would wait for; whether all of it is done.

        Another thread may call it than the one that calls all else, and may read `must_prepare`.

        Raises:
            JournalWriteFailed: Nothing more can be written.
        """

    def close(self) -> None:
        """Give the log back; more than once is allowed."""

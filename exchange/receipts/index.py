"""The index: where each lease's receipt lies. Derived from the segments; never a source of truth.

A file of 16-byte entries at lease id times 16, so memory does not grow with receipts. Entry 0 says
which segments are in it for sure: all before the one that it names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from exchange.journal.files import FileSystem, JournalFile, write_all
from exchange.receipts.records import ENTRY_BYTES, Place, decode_entry, encode_entry

INDEX_NAME: Final = "index"
_COVERED: Final = 0  # the key of the entry that is no lease's


class ReceiptIndex:
    """Entries by lease. All methods raise OSError as the device does.

    Args:
        files: Where the folder lies.
        directory: The receipts' folder; an index is made if it holds none.
    """

    def __init__(self, files: FileSystem, directory: Path) -> None:
        self.path = directory / INDEX_NAME
        there = INDEX_NAME in files.names(directory)
        self._file: JournalFile = files.open(self.path, write=True, create=not there)

    @property
    def covered(self) -> int:
        """Every segment that begins before this number is in the index."""
        try:
            place = self.find(_COVERED)
        except ValueError:
            return 0
        return place.segment if place is not None else 0

    def find(self, lease_id: int) -> Place | None:
        """Where the lease's receipt lies; None where it has none.

        Raises:
            ValueError: The entry is not what was written.
        """
        return decode_entry(lease_id, self._file.pread(ENTRY_BYTES, lease_id * ENTRY_BYTES))

    def note(self, lease_id: int, place: Place) -> None:
        """Set an entry; it need not be durable, because opening looks at the last segment."""
        write_all(self._file, encode_entry(lease_id, place), lease_id * ENTRY_BYTES)

    def cover(self, segment: int) -> None:
        """Make all entries durable, then say so."""
        self._file.fdatasync()
        self.note(_COVERED, Place(segment, 0))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

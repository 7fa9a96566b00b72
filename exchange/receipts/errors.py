"""Everything that can go wrong with the receipts.

ReceiptsError
├── ReceiptsLocked      another process has them open
├── ReceiptsClosed      used after close()
├── ReceiptInvalid      over a bound; nothing was stored
├── ReceiptNotFound     the lease has none, or it is older than the retention
├── ReceiptDamaged      stored bytes are not what was written
├── ReceiptReadFailed   the device returned an error
└── ReceiptWriteFailed  the device returned an error; the receipts may be stored or not
"""

from __future__ import annotations

from pathlib import Path


class ReceiptsError(Exception):
    """Base of all errors of this package."""


class ReceiptsLocked(ReceiptsError):
    """Another process has the receipts open."""

    def __init__(self, directory: Path, holder: str) -> None:
        self.directory = directory
        super().__init__(
            f"the receipts in {directory} are in use by process {holder or 'unknown'}: "
            "stop that process first"
        )


class ReceiptsClosed(ReceiptsError):
    """The store was closed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        super().__init__(f"the receipts in {directory} were closed: open them again")


class ReceiptInvalid(ReceiptsError):
    """A receipt or a batch is over its bound; nothing was stored."""


class ReceiptNotFound(ReceiptsError):
    """There is no receipt of this lease."""

    def __init__(self, lease_id: int) -> None:
        self.lease_id = lease_id
        super().__init__(f"there is no receipt of lease {lease_id}")


class ReceiptDamaged(ReceiptsError):
    """Stored bytes are not what was written."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        self.path = path
        self.offset = offset
        self.reason = reason
        super().__init__(f"{path} is damaged at offset {offset}: {reason}; restore it from a copy")


class ReceiptReadFailed(ReceiptsError):
    """The device returned an error on reading."""

    def __init__(self, path: Path, cause: OSError) -> None:
        self.path = path
        super().__init__(f"cannot read {path}: {cause.strerror or cause}; check the device")


class ReceiptWriteFailed(ReceiptsError):
    """The device returned an error; the receipts were not acknowledged, and may be tried again."""

    def __init__(self, path: Path, cause: OSError) -> None:
        self.path = path
        super().__init__(
            f"cannot write {path}: {cause.strerror or cause}; check the device and its free "
            "space, then try again"
        )

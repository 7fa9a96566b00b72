"""Receipts: the signed proof behind every bill, kept for years, found by lease.

`ReceiptStore` is all of it; the layout on disk is described in `exchange.receipts.store`.
`verify_receipts` and `backup_receipts` work beside a running exchange.
"""

from exchange.receipts.copying import backup_receipts, restore_receipts, verify_receipts
from exchange.receipts.errors import (
    ReceiptDamaged,
    ReceiptInvalid,
    ReceiptNotFound,
    ReceiptReadFailed,
    ReceiptsClosed,
    ReceiptsError,
    ReceiptsLocked,
    ReceiptWriteFailed,
)
from exchange.receipts.records import (
    BATCH_BYTES_MAX,
    BATCH_RECEIPTS_MAX,
    LEASE_ID_MAX,
    RECEIPT_BYTES_MAX,
    Receipt,
)
from exchange.receipts.store import ReceiptStore

__all__ = [
    "BATCH_BYTES_MAX",
    "BATCH_RECEIPTS_MAX",
    "LEASE_ID_MAX",
    "RECEIPT_BYTES_MAX",
    "Receipt",
    "ReceiptDamaged",
    "ReceiptInvalid",
    "ReceiptNotFound",
    "ReceiptReadFailed",
    "ReceiptStore",
    "ReceiptWriteFailed",
    "ReceiptsClosed",
    "ReceiptsError",
    "ReceiptsLocked",
    "backup_receipts",
    "restore_receipts",
    "verify_receipts",
]

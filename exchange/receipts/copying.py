"""Copies of the receipts: taken while an exchange appends, checked, and put back."""

from __future__ import annotations

from pathlib import Path

from exchange.journal import JournalStat, backup_journal, restore_journal, verify_journal
from exchange.receipts.store import GENESIS, RECEIPTS_VERSION


def verify_receipts(directory: Path) -> JournalStat:
    """Read and check every receipt, and say what is there. O(bytes); an exchange may be appending.

    Raises:
        JournalError: as `verify_journal`, whose format the segments have.
    """
    return verify_journal(
        directory, rules_version=RECEIPTS_VERSION, genesis=GENESIS, beginning_kept=False
    )


def backup_receipts(directory: Path, target: Path) -> JournalStat:
    """Copy every receipt to a new folder, while an exchange may be appending. O(bytes).

    Raises:
        JournalError: as `backup_journal`.
    """
    return backup_journal(directory, target, beginning_kept=False)


def restore_receipts(backup: Path, directory: Path) -> JournalStat:
    """Put a copy into a new folder; the index is made when a store opens it. O(bytes).

    Raises:
        JournalError: as `restore_journal`.
    """
    return restore_journal(backup, directory, beginning_kept=False)

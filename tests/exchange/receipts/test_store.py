"""Receipts: stored, found after a restart, expired, damaged, cut off, on disks that fail."""

from __future__ import annotations

import doctest
import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from exchange.journal import JournalDamaged, JournalTargetExists
from exchange.journal.format import HEADER_BYTES
from exchange.journal.simulated import Fault, SimulatedCrash, SimulatedDisk
from exchange.receipts import (
    BATCH_BYTES_MAX,
    BATCH_RECEIPTS_MAX,
    LEASE_ID_MAX,
    RECEIPT_BYTES_MAX,
    Receipt,
    ReceiptDamaged,
    ReceiptInvalid,
    ReceiptNotFound,
    ReceiptReadFailed,
    ReceiptsClosed,
    ReceiptsError,
    ReceiptsLocked,
    ReceiptStore,
    ReceiptWriteFailed,
    backup_receipts,
    restore_receipts,
    verify_receipts,
)

ROOT = Path(__file__).parents[3]
FOLDER = Path("receipts")
SEGMENT_BYTES = 8192
"""Eight receipts of one sector each."""


def receipt(lease_id: int, *, size: int = 0, time_ns: int = 0) -> Receipt:
    chance = Random(lease_id)
    content = chance.randbytes(size or chance.randint(200, 400))
    return Receipt(lease_id, time_ns or 1_000 * lease_id, content)


def open_small(
    directory: Path, files: SimulatedDisk | None = None, *, cut_damaged_tail: bool = False
) -> ReceiptStore:
    return ReceiptStore(
        directory, segment_bytes=SEGMENT_BYTES, cut_damaged_tail=cut_damaged_tail, files=files
    )


def fill(store: ReceiptStore, lease_ids: Sequence[int]) -> None:
    for lease_id in lease_ids:
        store.append([receipt(lease_id)])


def check(store: ReceiptStore, lease_ids: Sequence[int]) -> None:
    for lease_id in lease_ids:
        assert store.get(lease_id) == receipt(lease_id).content


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.log"))


# ---- storing and finding ----


def test_receipts_come_back_after_a_restart(tmp_path: Path) -> None:
    leases = list(range(1, 40))
    Random(1).shuffle(leases)
    with open_small(tmp_path) as store:
        fill(store, leases)
        check(store, leases)
        assert (store.count, store.segments) == (39, 5)
        for absent in (40, 10_000, LEASE_ID_MAX):
            with pytest.raises(ReceiptNotFound, match=f"no receipt of lease {absent}"):
                store.get(absent)
    with open_small(tmp_path) as store:
        check(store, leases)
        assert (store.count, store.segments, store.torn_tail) == (39, 5, None)
    assert verify_receipts(tmp_path).records == 39


def test_a_batch_is_one_group_with_one_sync() -> None:
    disk = SimulatedDisk()
    with ReceiptStore(FOLDER, files=disk) as store:
        before = len(disk.changes)
        store.append([receipt(n) for n in range(1, BATCH_RECEIPTS_MAX + 1)])
        operations = [c.operation for c in disk.changes[before:] if c.path.suffix == ".log"]
        assert operations == ["pwrite", "fdatasync"]
        # The index is not synced: opening makes it good.
        assert sum("sync" in c.operation for c in disk.changes[before:]) == 1
        check(store, range(1, BATCH_RECEIPTS_MAX + 1))


def test_the_last_receipt_of_a_lease_counts(tmp_path: Path) -> None:
    with open_small(tmp_path) as store:
        store.append([Receipt(3, 1, b"never sequenced")])
        store.append([Receipt(3, 2, b"also not"), Receipt(4, 2, b"other"), Receipt(3, 2, b"true")])
        assert store.get(3) == b"true"
    with open_small(tmp_path) as store:
        assert (store.get(3), store.get(4)) == (b"true", b"other")


def test_what_is_stored_is_not_stored_again(tmp_path: Path) -> None:
    with open_small(tmp_path) as store:
        for _ in range(3):
            store.append([receipt(1), receipt(2)])
        store.append([receipt(2), receipt(3)])
        assert store.count == 3
        check(store, [1, 2, 3])


def test_bounds_are_reached_and_kept(tmp_path: Path) -> None:
    with ReceiptStore(tmp_path) as store:
        largest = receipt(LEASE_ID_MAX, size=RECEIPT_BYTES_MAX)
        store.append([largest])
        assert store.get(LEASE_ID_MAX) == largest.content
        mega = [receipt(n, size=RECEIPT_BYTES_MAX - 64) for n in range(1, 5)]
        store.append(mega)
        for batch, reason in [
            ([], "1 to 256 receipts"),
            ([receipt(1)] * (BATCH_RECEIPTS_MAX + 1), "1 to 256 receipts"),
            ([receipt(0)], "lease 0 is outside"),
            ([receipt(LEASE_ID_MAX + 1)], "is outside"),
            ([receipt(1, size=RECEIPT_BYTES_MAX + 1)], "more than 1048576"),
            ([*mega, receipt(9)], f"at most {BATCH_BYTES_MAX} bytes"),
        ]:
            with pytest.raises(ReceiptInvalid, match=reason):
                store.append(batch)
        assert store.count == 5


def test_one_process_has_the_store(tmp_path: Path) -> None:
    with open_small(tmp_path), pytest.raises(ReceiptsLocked, match=f"process {os.getpid()}"):
        open_small(tmp_path)


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = open_small(tmp_path)
    store.close()
    store.close()
    for call in (lambda: store.get(1), lambda: store.append([receipt(1)]), lambda: store.expire(1)):
        with pytest.raises(ReceiptsClosed):
            call()


def test_threads_read_while_one_appends(tmp_path: Path) -> None:
    with open_small(tmp_path) as store:
        fill(store, [1])
        newest, failures = 1, []

        def read() -> None:
            try:
                while newest < 200:
                    check(store, [1, newest, (newest + 1) // 2])
            except Exception as error:
                failures.append(error)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for lease_id in range(2, 201):
            fill(store, [lease_id])
            newest = lease_id
        for reader in readers:
            reader.join()
        assert failures == []


# ---- the index ----


@pytest.mark.parametrize("harm", ["removed", "emptied", "marker", "old"])
def test_the_index_is_made_anew_where_it_is_not_good(tmp_path: Path, harm: str) -> None:
    index = tmp_path / "index"
    leases = range(1, 30)
    with open_small(tmp_path) as store:
        fill(store, leases[:15])
    old = index.read_bytes()
    with open_small(tmp_path) as store:
        fill(store, leases[15:])
    if harm == "removed":
        index.unlink()
    elif harm == "emptied":
        index.write_bytes(b"")
    elif harm == "marker":
        index.write_bytes(b"garbage!" * 2 + bytes(480))
    else:
        index.write_bytes(old)
    with open_small(tmp_path) as store:
        check(store, leases)


def test_only_the_last_segment_is_read_where_the_index_is_good(tmp_path: Path) -> None:
    with open_small(tmp_path) as store:
        fill(store, range(1, 30))
    first = segments(tmp_path)[0]
    raw = bytearray(first.read_bytes())
    raw[HEADER_BYTES + 200] ^= 1
    first.write_bytes(raw)
    with open_small(tmp_path) as store:
        with pytest.raises(ReceiptDamaged) as caught:
            store.get(1)
        assert (caught.value.path, caught.value.offset) == (first, HEADER_BYTES + 80)
        check(store, range(2, 30))
        # It can be put again from a copy.
        fill(store, [1])
        check(store, range(1, 30))
    with pytest.raises(JournalDamaged):
        verify_receipts(tmp_path)


def test_a_damaged_entry_is_named(tmp_path: Path) -> None:
    with open_small(tmp_path) as store:
        fill(store, [1, 2])
        with (tmp_path / "index").open("r+b") as index:
            index.seek(16)
            index.write(b"\x07")
        with pytest.raises(ReceiptDamaged, match="remove this file"):
            store.get(1)
        check(store, [2])
        with (tmp_path / "index").open("r+b") as index:
            index.seek(32)
            entry = index.read(16)
            index.seek(16)
            index.write(entry)  # the entry of another lease
        with pytest.raises(ReceiptDamaged, match="remove this file"):
            store.get(1)
    with open_small(tmp_path) as store:
        check(store, [1, 2])


# ---- retention ----


def test_old_segments_expire_and_the_newest_stays(tmp_path: Path) -> None:
    with open_small(tmp_path) as store:
        fill(store, range(1, 25))  # segments begin with 1, 9 and 17
        firsts = [int(path.stem) for path in segments(tmp_path)]
        assert store.expire(1_000 * firsts[1]) == 0
        assert store.expire(1_000 * firsts[1] + 1) == 1
        with pytest.raises(ReceiptNotFound):
            store.get(1)
        check(store, range(firsts[1], 25))
        assert store.expire(10**9) == len(firsts) - 2
        check(store, range(firsts[-1], 25))
        assert (store.segments, store.count) == (1, 24)
    with open_small(tmp_path) as store:
        assert (store.segments, store.count) == (1, 24)
        fill(store, range(25, 30))
        check(store, range(firsts[-1], 30))
        with pytest.raises(ReceiptNotFound):
            store.get(1)
    (tmp_path / "index").unlink()
    with open_small(tmp_path) as store:
        check(store, range(firsts[-1], 30))
    assert verify_receipts(tmp_path).next_sequence == 30


def test_a_missing_segment_is_damage(tmp_path: Path) -> None:
    with open_small(tmp_path) as store:
        fill(store, range(1, 25))
        lost = segments(tmp_path)[1]
        lost.unlink()
        with pytest.raises(ReceiptDamaged, match="segment is missing"):
            store.get(int(lost.stem))


# ---- damage ----


def test_a_torn_tail_is_cut_and_reported(tmp_path: Path) -> None:
    with open_small(tmp_path) as store:
        fill(store, [1, 2])
        store.append([receipt(3, size=2_000)])
        end = store._offset
    (path,) = segments(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[end - 1024 : end] = bytes(1024)
    path.write_bytes(raw)
    with open_small(tmp_path) as store:
        assert store.torn_tail is not None
        assert store.torn_tail.offset == HEADER_BYTES + 1024
        check(store, [1, 2])
        fill(store, [4])
    with open_small(tmp_path) as store:
        assert store.torn_tail is None
        check(store, [1, 2, 4])


def test_a_damaged_tail_stops_the_start_until_it_is_given_up(tmp_path: Path) -> None:
    with open_small(tmp_path) as store:
        fill(store, [1, 2])
    (path,) = segments(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[HEADER_BYTES + 512 + 100] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ReceiptDamaged) as caught:
        open_small(tmp_path)
    assert caught.value.offset == HEADER_BYTES + 512 + 80
    with open_small(tmp_path, cut_damaged_tail=True) as store:
        check(store, [1])
        assert store.torn_tail is not None


@pytest.mark.parametrize(
    ("at", "reason"), [(0, "header"), (12, "header"), (HEADER_BYTES + 90, "good group follows")]
)
def test_damage_before_the_tail_stops_the_start(tmp_path: Path, at: int, reason: str) -> None:
    with open_small(tmp_path) as store:
        fill(store, [1, 2])
    (path,) = segments(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    for cut in (False, True):
        with pytest.raises(ReceiptDamaged, match=reason):
            open_small(tmp_path, cut_damaged_tail=cut)


def test_segments_of_a_journal_are_no_receipts(tmp_path: Path) -> None:
    from exchange.journal import LocalLog

    for rules, reason in [(1, "no segment of receipts"), (2, "version 2 instead of 1")]:
        folder = tmp_path / str(rules)
        LocalLog(folder, rules_version=rules, genesis=b"x", segment_bytes=SEGMENT_BYTES).close()
        with pytest.raises(ReceiptDamaged, match=reason):
            open_small(folder)


# ---- devices that fail ----

LEASES = range(1, 19)


class Run:
    """Appends on a disk that fails once; goes on after errors, as the exchange does."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self.disk = disk
        self.acknowledged: list[int] = []
        self.errors: list[BaseException] = []
        store = None
        try:
            store = open_small(FOLDER, disk)
            for lease_id in LEASES:
                try:
                    store.append([receipt(lease_id)])
                except ReceiptsError as error:
                    self.errors.append(error)
                    store.append([receipt(lease_id)])
                self.acknowledged.append(lease_id)
        except (ReceiptsError, SimulatedCrash) as error:
            self.errors.append(error)
        finally:
            if store is not None:
                store.close()

    def check(self, disk: SimulatedDisk) -> None:
        with open_small(FOLDER, disk) as store:
            check(store, self.acknowledged)
            store.append([receipt(99)])
            check(store, [99])
        for seed in range(2):
            with open_small(FOLDER, disk.crash(Random(seed))) as store:
                check(store, [*self.acknowledged, 99])


@pytest.mark.parametrize(
    "fault",
    [
        Fault(errno.EIO),
        Fault(errno.EIO, written=300),
        Fault(errno.ENOSPC, written=10),
        Fault(crash=True),
        Fault(crash=True, written=600),
    ],
    ids=str,
)
def test_a_failure_at_any_change_loses_nothing_that_was_acknowledged(fault: Fault) -> None:
    whole = Run(SimulatedDisk())
    assert (whole.errors, whole.acknowledged) == ([], list(LEASES))
    for at in range(len(whole.disk.changes)):
        run = Run(SimulatedDisk({at: fault}))
        assert run.errors
        if not fault.crash and at > 10:
            # The store has healed itself: only the one batch had to be tried again.
            assert run.acknowledged == list(LEASES)
        for seed in range(3):
            run.check(run.disk.crash(Random(seed)))
        run.check(run.disk)


def test_a_device_that_stays_broken_is_named() -> None:
    disk = SimulatedDisk()
    store = open_small(FOLDER, disk)
    disk._faults = {len(disk.changes) + n: Fault(errno.ENOSPC) for n in range(9)}
    for _ in range(3):
        with pytest.raises(ReceiptWriteFailed, match="free space, then try again"):
            store.append([receipt(1)])
    disk._faults = {}
    store.append([receipt(1)])
    disk.read_error = errno.EIO
    with pytest.raises(ReceiptReadFailed, match="check the device"):
        store.get(1)


# A writer that is killed: says which leases are durable.
WRITER = """
import os, sys
from pathlib import Path
from exchange.receipts import ReceiptStore
from tests.exchange.receipts.test_store import receipt

store = ReceiptStore(Path(sys.argv[1]), segment_bytes=8192)
for n in range(int(sys.argv[2]), 1_000_000):
    store.append([receipt(n)])
    os.write(1, b"%d\\n" % n)
"""


def test_a_writer_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    chance = Random(5)
    newest = 0
    for _ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(newest + 1)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert writer.stdout is not None
        lines = [writer.stdout.readline()]
        time.sleep(chance.uniform(0, 0.05))
        writer.kill()
        lines += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
        newest = max(int(line) for line in lines if line.endswith(b"\n"))
        with open_small(tmp_path) as store:
            check(store, range(1, newest + 1))
            newest = max(newest, store.count)


# ---- copies ----


def test_a_copy_is_taken_while_receipts_are_appended(tmp_path: Path) -> None:
    with open_small(tmp_path / "live") as store:
        fill(store, range(1, 20))
        store.expire(9_001)
        stat = backup_receipts(tmp_path / "live", tmp_path / "copy")
        assert (stat.next_sequence, store.segments) == (20, len(stat.segments))
        fill(store, range(20, 30))
        first = stat.segments[0].first_sequence
        assert first > 1
    with pytest.raises(JournalTargetExists):
        backup_receipts(tmp_path / "live", tmp_path / "copy")
    restore_receipts(tmp_path / "copy", tmp_path / "restored")
    with open_small(tmp_path / "restored") as store:
        check(store, range(first, 20))
        with pytest.raises(ReceiptNotFound):
            store.get(20)
        fill(store, [20])
        check(store, [20])


def test_the_example_in_the_documentation_runs() -> None:
    import exchange.receipts.store as documented

    assert doctest.testmod(documented) == (0, 4)

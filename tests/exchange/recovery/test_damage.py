"""No damage to a snapshot passes, no failure while one is written harms another, no bytes crash."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from exchange.core.limits import RULES_VERSION
from exchange.journal import Position, SnapshotDamaged, SnapshotStore, genesis_digest, head_of
from exchange.journal.segment import UNFINISHED_NAME, UNFINISHED_SUFFIX
from exchange.journal.simulated import SimulatedDisk
from tests.exchange.recovery.decoding import FOLDER, decode_anything, good_state, seeds
from tests.exchange.recovery.journals import GENESIS, groups, replayed, write
from tests.exchange.recovery.power import OUTCOMES, lose_power
from tests.exchange.recovery.test_start import start

POWER_SEEDS = 24
MADE_UP_INPUTS = 1_500


def test_every_single_flipped_bit_is_found() -> None:
    state = random.Random(1).randbytes(300)
    head = head_of(
        RULES_VERSION, genesis_digest(GENESIS), Position(43, 1, bytes(32)), bytes(32), state
    )
    disk = SimulatedDisk()
    store = SnapshotStore(FOLDER, disk)
    path = store.write(head, state)
    content = disk.content(path)
    assert store.read(path).head == head
    assert bytes(store.read(path).state) == state
    for bit in range(8 * len(content)):
        content[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SnapshotDamaged):
            store.read(path)
        content[bit // 8] ^= 1 << bit % 8
    for size in range(len(content)):
        short = SimulatedDisk()
        short.open(path, create=True).pwrite(bytes(content[:size]), 0)
        with pytest.raises(SnapshotDamaged):
            SnapshotStore(FOLDER, short).read(path)
    assert store.read(path).head == head


def test_power_lost_while_a_snapshot_is_written() -> None:
    total = Counter[str]()
    for seed in range(1, POWER_SEEDS + 1):
        total += lose_power(seed)
    assert all(total[outcome] for outcome in OUTCOMES), total


def test_no_bytes_make_the_decoders_fail_in_another_way() -> None:
    chance = random.Random(1)
    begin = seeds()
    for data in begin:
        decode_anything(data)
    for number in range(MADE_UP_INPUTS):
        kind = number % 4
        if kind in (1, 3):
            decode_anything(bytes([kind]) + chance.randbytes(4 * chance.randint(1, 3)))
            continue
        changed = bytearray(begin[kind])
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(1, len(changed))] = chance.randrange(256)
        decode_anything(bytes(changed[: chance.randrange(1, len(changed) + 1)]))
    decode_anything(b"")
    decode_anything(b"\x02" + good_state()[:-1])


def test_a_killed_follower_leaves_what_was_there(tmp_path: Path) -> None:
    """SIGKILL at random moments; then a start, and a follower that is left alone."""
    found = groups(9, 900)
    write(tmp_path / "journal", found[: len(found) // 2])
    command = [
        sys.executable, "-m", "exchange.recovery", str(tmp_path / "journal"),
        str(tmp_path / "snapshots"), "--genesis", GENESIS.hex(),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    write(tmp_path / "journal", found)
    whole = replayed(found).core.dump()
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    lasts = time.monotonic() - began
    newest, older = SnapshotStore(tmp_path / "snapshots").paths()
    chance = random.Random(9)
    for _ in range(3):
        newest.unlink(missing_ok=True)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            time.sleep(chance.uniform(0.3, 1.0) * lasts)
            process.kill()
        left = SnapshotStore(tmp_path / "snapshots").paths()
        assert left in ([older], [newest, older])
        assert start(tmp_path).replica.core.dump() == whole
    (tmp_path / "snapshots" / UNFINISHED_NAME).write_bytes(b"half")
    newest.unlink(missing_ok=True)
    subprocess.run(command, check=True, capture_output=True)
    assert SnapshotStore(tmp_path / "snapshots").paths() == [newest, older]
    assert not list((tmp_path / "snapshots").glob("*" + UNFINISHED_SUFFIX))

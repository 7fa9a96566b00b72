"""Any bytes as a snapshot: what its decoders may do with them. For the fuzzer and its small test.

The first byte of the input chooses what the rest is:

    0  a snapshot's file
    1  changes to a good file: offset (3 bytes), new byte
    2  a state
    3  changes to a good state
"""

from __future__ import annotations

import contextlib
from functools import cache
from pathlib import Path
from typing import Final

from exchange.core.limits import RULES_VERSION
from exchange.core.snapshot import SnapshotInvalid, load
from exchange.journal import Position, SnapshotDamaged, SnapshotStore, genesis_digest, head_of
from exchange.journal.simulated import SimulatedDisk
from exchange.journal.snapshots import encode_head
from tests.exchange.recovery.journals import GENESIS, groups, replayed

FOLDER: Final = Path("snapshots")
STEP: Final = 4


@cache
def good_state() -> bytes:
    """The state of a small exchange in which everything has happened."""
    return replayed(groups(1, 300)).core.dump()


@cache
def good_file() -> bytes:
    """A snapshot of it."""
    state = good_state()
    sequence = load(state).sequence
    head = head_of(
        RULES_VERSION,
        genesis_digest(GENESIS),
        Position(sequence + 1, 1, bytes(32)),
        bytes(32),
        state,
    )
    disk = SimulatedDisk()
    return bytes(disk.content(SnapshotStore(FOLDER, disk).write(head, state)))


def seeds() -> list[bytes]:
    """Inputs to begin with."""
    return [
        b"\x00" + good_file(),
        b"\x01\x00\x00\x20\x01",
        b"\x02" + good_state(),
        b"\x03\x00\x01\x00\xff",
    ]


def decode_anything(data: bytes) -> None:
    """Decode; anything but the decoders' own errors is a failure."""
    if not data:
        return
    kind, rest = data[0] % 4, data[1:]
    if kind in (1, 3):
        rest = _changed(good_file() if kind == 1 else good_state(), rest)
    if kind < 2:
        _decode_file(rest)
    else:
        with contextlib.suppress(SnapshotInvalid):
            load(rest)


def _decode_file(content: bytes) -> None:
    disk = SimulatedDisk()
    sequence = int.from_bytes(content[24:32], "little")
    path = SnapshotStore(FOLDER, disk).path(min(sequence, 10**20 - 1))
    disk.open(path, create=True).pwrite(content, 0)
    try:
        snapshot = SnapshotStore(FOLDER, disk).read(path)
    except SnapshotDamaged:
        return
    # What is accepted is what writing it gives, byte for byte.
    assert encode_head(snapshot.head) + snapshot.state.tobytes() + b"FXSE" == content
    with contextlib.suppress(SnapshotInvalid):
        load(snapshot.state)


def _changed(content: bytes, changes: bytes) -> bytes:
    changed = bytearray(content)
    for at in range(0, len(changes) - STEP + 1, STEP):
        offset = int.from_bytes(changes[at : at + 3]) % len(changed)
        changed[offset] = changes[at + 3]
    return bytes(changed)

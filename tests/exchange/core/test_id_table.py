"""The table of client ids, as compiled code has it, beside a dict."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.core import id_table
from exchange.core.id_table import IdTable
from exchange.core.snapshot import load
from matching import COMPILED
from tests.exchange.core.chaos import Chaos, OrderChaos
from tests.exchange.core.scenario import Market
from tests.exchange.core.test_snapshot import restored

Entry = tuple[int, int, int]
# Compiled, what bounds a bucket is part of the code, and more ids are needed to split some.
BUCKET = id_table.BUCKET_SLOTS if COMPILED else 32
DEPTH = id_table.DEPTH_MAX if COMPILED else 8


@pytest.fixture(autouse=True)
def _as_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_table, "COMPILED", True)


def entry(rng: Random) -> Entry:
    return rng.randint(0, 255), rng.randint(-(2**63), 2**63 - 1), rng.randint(0, 2**55 - 1)


def compare(table: IdTable, twin: dict[bytes, Entry]) -> None:
    table.check()
    assert len(table) == len(twin)
    assert set(table.ids()) == twin.keys()
    for client_id, (kind, digest, result_id) in twin.items():
        known = table.get(client_id)
        assert known is not None
        assert (known.kind, known.digest, known.result_id) == (kind, digest, result_id)


@pytest.mark.parametrize("tags", [1 << 31, 64, 1])
def test_random_changes_leave_what_they_leave_in_a_dict(
    tags: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where many ids, or all, share a slot."""
    monkeypatch.setattr(id_table, "_tag", lambda client_id: hash(client_id) % tags)
    rng, table, twin = Random(tags), IdTable(), dict[bytes, Entry]()
    ids = [rng.randbytes(16) for _ in range(120)]
    for number in range(3_000):
        client_id = rng.choice(ids)
        assert (client_id in table) == (client_id in twin)
        if client_id not in twin:
            twin[client_id] = entry(rng)
            table.add(client_id, *twin[client_id])
        elif rng.random() < 0.8:
            table.drop(client_id)
            del twin[client_id]
        if number % 100 == 0:
            compare(table, twin)
            again = IdTable.restored(*table.state())
            compare(again, twin)
            assert again.state() == table.state()
    for client_id in ids:
        table.drop(client_id)
    compare(table, {})
    assert table.state() == IdTable().state()


def test_a_hash_has_the_upper_bits_of_a_sum_of_products() -> None:
    """Modulo 2^64, interpreted as compiled; what stirs it makes no two hashes one."""
    rng = Random(5)
    keys = [id_table._KEY_1, id_table._KEY_2, id_table._KEY_3, id_table._KEY_4]
    stirred = set()
    upper = set()
    for _ in range(2_000):
        client_id = rng.randbytes(16)
        words = struct.unpack(">4I", client_id)
        products = [key * word for key, word in zip(keys, words, strict=True)]
        tag = (id_table._KEY + sum(products)) % 2**64 >> 33
        upper.add(tag)
        tag = (tag ^ tag >> 15) * id_table._STIR % 2**31
        stirred.add(tag ^ tag >> 15)
        assert id_table._tag(client_id) == tag ^ tag >> 15
    assert len(stirred) == len(upper)


@pytest.mark.parametrize("place", [0, 6, 15])
def test_ids_that_are_counted_up_lie_apart(place: int) -> None:
    """As in a table filled at random: two thirds of as many slots are taken, or nearly."""
    tags = [id_table._tag((number << 8 * place).to_bytes(16)) for number in range(256)]
    assert len({tag & 0xFF for tag in tags}) > 100
    assert len({tag >> 23 for tag in tags}) > 100


@contextmanager
def small_buckets() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(id_table, "BUCKET_SLOTS", BUCKET)
        patch.setattr(id_table, "DEPTH_MAX", DEPTH)
        yield


def grown(count: int) -> tuple[IdTable, dict[bytes, Entry]]:
    rng, table, twin = Random(count), IdTable(), dict[bytes, Entry]()
    for _ in range(count):
        client_id = rng.randbytes(16)
        twin[client_id] = entry(rng)
        table.add(client_id, *twin[client_id])
    return table, twin


def sizes(table: IdTable) -> set[int]:
    return {bucket.mask + 1 for bucket in table._buckets}


@settings(max_examples=20, deadline=None)
@given(
    steps=st.lists(st.tuples(st.booleans(), st.integers(1, 4 * BUCKET)), max_size=8),
    oldest=st.booleans(),
    seed=st.integers(0, 1 << 32),
)
def test_a_table_that_grows_and_shrinks_is_a_dict(
    steps: list[tuple[bool, int]], oldest: bool, seed: int
) -> None:
    """By several buckets a step; what goes are the oldest ids, or any."""
    rng, table, twin = Random(seed), IdTable(), dict[bytes, Entry]()
    with small_buckets():
        for adds, count in steps:
            if adds:
                for _ in range(count):
                    client_id = rng.randbytes(16)
                    twin[client_id] = entry(rng)
                    table.add(client_id, *twin[client_id])
            else:
                ids = list(twin) if oldest else rng.sample(list(twin), len(twin))
                for client_id in ids[:count]:
                    table.drop(client_id)
                    table.drop(client_id)
                    del twin[client_id]
            compare(table, twin)
            assert max(sizes(table), default=0) <= BUCKET
        again = IdTable.restored(*table.state())
        compare(again, twin)
        assert again.state() == table.state()


def test_no_id_ever_moves_more_others_than_a_bucket_has() -> None:
    """What is moved at once lies in one bucket, or goes into one."""
    with small_buckets():
        table, twin = grown(5 * BUCKET)
        assert sizes(table) == {BUCKET}
        assert len({id(bucket) for bucket in table._buckets}) > 5
        left = dict(list(twin.items())[: BUCKET // 16])
        for client_id in twin.keys() - left.keys():
            table.drop(client_id)
            assert max(sizes(table)) <= BUCKET
        assert len(table._each()) == 1
        compare(table, left)


@pytest.mark.skipif(COMPILED, reason="compiled, nothing can choose hashes")
@pytest.mark.parametrize("tag", [0, (1 << 31) - 1, 0x1234_5678])
def test_ids_of_one_hash_grow_in_their_bucket(tag: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As deep as buckets may be told apart, and not deeper."""
    with small_buckets():
        monkeypatch.setattr(id_table, "_tag", lambda _: tag)
        table, twin = grown(5 * BUCKET)
        assert len(table._buckets) == 1 << DEPTH
        assert max(sizes(table)) >= 10 * BUCKET
        compare(table, twin)
        compare(IdTable.restored(*table.state()), twin)
        for client_id in list(twin)[2:]:
            table.drop(client_id)
        assert sizes(table) == {2 * id_table._SPARSE}
        compare(table, dict(list(twin.items())[:2]))


def test_ids_that_differ_in_one_bit_are_two() -> None:
    table = IdTable()
    ids = [(1 << bit).to_bytes(16) for bit in range(128)]
    for number, client_id in enumerate(ids):
        table.add(client_id, 1, 2, number)
    compare(table, {client_id: (1, 2, number) for number, client_id in enumerate(ids)})
    assert table.get(bytes(16)) is None
    assert table.state()[0] == b"".join(sorted(ids))


@pytest.mark.parametrize("client_id", [b"", bytes(15), bytes(17)])
def test_what_is_no_id_is_not_found(client_id: bytes) -> None:
    table = IdTable()
    table.add(bytes(16), 1, 2, 3)
    assert table.get(client_id) is None


@pytest.mark.parametrize(
    ("client_id", "kind", "result_id"),
    [(bytes(15), 1, 3), (bytes(17), 1, 3), (bytes(16), 256, 3), (bytes(16), 1, 1 << 55)],
)
def test_what_no_row_can_hold_is_refused(client_id: bytes, kind: int, result_id: int) -> None:
    table = IdTable()
    with pytest.raises(AssertionError):
        table.add(client_id, kind, 2, result_id)
    assert not table.ids()


def test_an_id_is_new_once() -> None:
    table = IdTable()
    table.add(bytes(16), 1, 2, 3)
    with pytest.raises(AssertionError, match="new once"):
        table.add(bytes(16), 1, 2, 3)


def test_what_is_no_state_is_refused() -> None:
    table = IdTable()
    for number in range(3):
        table.add(number.to_bytes(16), 1, 2, number)
    joint, contents, results = table.state()
    for damaged in (
        (joint[:-1], contents, results),
        (joint, contents[:-1], results),
        (joint, contents, results[:-1]),
    ):
        with pytest.raises(ValueError, match=r"ids|column"):
            IdTable.restored(*damaged)
    for disordered in (bytes(16) * 3, joint[16:] + joint[:16]):
        with pytest.raises(ValueError, match="not in order"):
            IdTable.restored(disordered, contents, results)


@pytest.mark.parametrize("kind", [Chaos, OrderChaos])
def test_an_exchange_does_the_same_with_either_form(
    kind: type[Chaos], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random commands, repeats and late ones among them; a restore goes on alike."""
    market = Market()
    chaos = kind(market, 7)
    start = market.exchange.dump()
    commands = []
    for _ in range(800):
        commands.append(chaos.command())
        chaos.saw(market.exchange.apply(commands[-1:])[0])
    digest = restored(market.exchange).digest()
    monkeypatch.setattr(id_table, "COMPILED", False)
    other = load(start)
    other.apply(commands)
    assert other.digest() == digest

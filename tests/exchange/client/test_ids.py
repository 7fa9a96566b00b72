from __future__ import annotations

import threading
import time
import uuid

import pytest

from exchange.client import format_id, ids, parse_id, uuid7


def test_an_id_is_a_uuid7_of_now() -> None:
    before_ms = time.time_ns() // 1_000_000
    found = uuid.UUID(bytes=uuid7())
    assert found.version == 7
    assert found.variant == uuid.RFC_4122
    # A second's leave where the machine's clock is set meanwhile.
    assert before_ms - 1_000 <= found.int >> 80 <= time.time_ns() // 1_000_000 + 1_000


def test_ids_of_all_threads_differ_and_those_of_one_rise() -> None:
    made: list[list[bytes]] = [[] for _ in range(4)]

    def make(into: list[bytes]) -> None:
        into.extend(uuid7() for _ in range(2_000))

    threads = [threading.Thread(target=make, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({i for into in made for i in into}) == 8_000
    assert all(into == sorted(into) for into in made)


def test_ids_rise_over_a_small_step_back_and_follow_a_large_one() -> None:
    generator = ids._Generator()
    first = generator.next(10_000)
    second = generator.next(9_500)
    assert second > first
    assert second >> 80 == 10_000
    assert generator.next(5_000) >> 80 == 5_000


def test_ids_rise_when_chance_runs_out_within_a_millisecond() -> None:
    generator = ids._Generator()
    first = generator.next(10_000)
    generator._chance = (1 << 74) - 1
    second = generator.next(10_000)
    assert second > first
    assert second >> 80 == 10_001


def test_ids_as_text() -> None:
    made = uuid7()
    assert parse_id(format_id(made)) == made
    assert format_id(b"") == ""
    with pytest.raises(ValueError, match="not a UUIDv7"):
        parse_id(str(uuid.uuid4()))
    with pytest.raises(ValueError, match="16"):
        format_id(b"short")

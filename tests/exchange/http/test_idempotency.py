"""Client ids from Idempotency-Keys."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from exchange.http.idempotency import WINDOW_S, derived_ids, fresh_id, own_id

WINDOW_NS = WINDOW_S * 10**9
NOW_NS = 1_790_000_000 * 10**9
times = st.integers(min_value=WINDOW_NS, max_value=2**47 * 10**6)


def millis(client_id: bytes) -> int:
    return int.from_bytes(client_id[:6])


@given(st.text(min_size=1), st.integers(0, 20), times)
def test_ids_are_uuid7s_of_their_windows(key: str, turn: int, now_ns: int) -> None:
    present, before = derived_ids(key, turn, now_ns)
    for client_id in (present, before):
        found = uuid.UUID(bytes=client_id)
        assert (found.version, found.variant) == (7, uuid.RFC_4122)
    begin_ms = millis(present)
    assert begin_ms * 10**6 <= now_ns < begin_ms * 10**6 + WINDOW_NS
    assert begin_ms - millis(before) == WINDOW_S * 1_000


@given(st.text(min_size=1), times, st.integers(0, WINDOW_NS))
def test_a_retry_within_a_window_finds_the_first_id(key: str, now_ns: int, later_ns: int) -> None:
    first, _ = derived_ids(key, 0, now_ns)
    assert first in derived_ids(key, 0, now_ns + later_ns)


def test_keys_and_turns_have_ids_of_their_own() -> None:
    ids = {derived_ids(key, turn, NOW_NS)[0] for key in ("a", "b", "1 a") for turn in (0, 1)}
    assert len(ids) == 6


def test_only_a_uuid7_is_its_own_id() -> None:
    fresh = uuid.UUID(bytes=fresh_id(NOW_NS))
    assert (fresh.version, millis(fresh.bytes)) == (7, NOW_NS // 10**6)
    assert own_id(str(fresh)) == fresh.bytes
    assert own_id(str(uuid.UUID(int=0, version=4))) is None
    assert own_id("order 4711") is None

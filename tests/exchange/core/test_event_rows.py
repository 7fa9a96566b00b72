"""Events come back from their rows, whole and in slices, and the bytes stay what they are."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.core import events as e
from exchange.core.event_rows import (
    ADVANCED_BYTES,
    NO_EVENTS,
    OTHER_BYTES,
    EventRows,
    encode,
    event_of,
    filled_up,
    row_bytes,
)
from exchange.core.event_tape import KEPT_BYTES_MAX, EventTape
from exchange.core.reasons import Reason
from tests.exchange.core.rows import rows_of

IDS = st.integers(0, 2**31 - 1)  # of accounts and instruments
NUMBERS = st.one_of(
    st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, -1, -(2**63)]),
    st.integers(-(2**63), 2**63 - 1),
)
OWN_ROW = (
    e.OrderAccepted, e.OrderFilled, e.OrderClosed, e.Posted, e.Refused, e.TimeAdvanced,
)  # fmt: skip
OTHERS = tuple(kind for kind in get_args(e.AnyEvent) if kind not in OWN_ROW)
NAMED: dict[str, st.SearchStrategy[Any]] = {
    "client_order_id": st.binary(min_size=16, max_size=16),
    "side": st.sampled_from([1, 2]),
    "taker_side": st.sampled_from([1, 2]),
}
TYPED: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    bytes: st.binary(max_size=40),
    int: NUMBERS,
    str: st.text(max_size=20),
    tuple[int, ...]: st.lists(NUMBERS, max_size=4).map(tuple),
}


def field(name: str, kind: Any) -> st.SearchStrategy[Any]:
    if name.endswith("account_id") or name == "instrument_id":
        return IDS
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        return st.sampled_from(kind)
    return NAMED[name] if name in NAMED else TYPED[kind]


def events(kind: type[e.Event]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    return st.builds(kind, *[field(name, hints[name]) for name in kind.__struct_fields__])


ORDINARY = st.one_of([events(kind) for kind in OWN_ROW])
RARE = st.one_of([events(kind) for kind in OTHERS])
RESULTS = st.lists(st.lists(ORDINARY | RARE, min_size=1, max_size=5), max_size=12)


@given(results=RESULTS, digesting=st.booleans())
def test_events_come_back(results: list[list[e.AnyEvent]], digesting: bool) -> None:
    told = rows_of(results, digesting=digesting)
    told.check()
    assert len(told) == len(results)
    assert list(told) == results
    assert [told[at] for at in range(-len(results), 0)] == results
    for at in (len(results), -len(results) - 1):
        with pytest.raises(IndexError):
            told[at]


@given(results=RESULTS, data=st.data())
def test_a_slice_is_that_part_of_the_whole(
    results: list[list[e.AnyEvent]], data: st.DataObject
) -> None:
    bound = st.integers(-2, len(results) + 2) | st.none()
    part: EventRows = rows_of(results)
    for _ in range(2):  # a slice of a slice, too
        wanted = slice(data.draw(bound), data.draw(bound))
        part, results = part[wanted], results[wanted]
        part.check()
        assert list(part) == results
        assert part.rows[part.begin(0) : part.end] == b"".join(
            part.rows[part.begin(at) : part.begin(at + 1)] for at in range(len(part))
        )


def test_a_part_keeps_nothing_else() -> None:
    """An answer that waits for a slow reader must not hold what others did in its group."""
    rare = e.QuoteSet(1, 2, 3, (4, 5))
    part = rows_of([[e.TimeAdvanced(1), rare], [rare, e.TimeAdvanced(2), rare], [rare]])[1:2]
    assert list(part) == [[rare, e.TimeAdvanced(2), rare]]
    assert len(part.others) == 2
    assert len(part.rows) == 2 * (OTHER_BYTES + filled_up(len(encode(rare)))) + 16
    assert len(part._index) == 8


@given(event=ORDINARY)
def test_a_copied_row_is_the_event(event: e.AnyEvent) -> None:
    told = rows_of([[e.Refused(Reason.FIELD_INVALID)], [event]])
    begin = told.begin(1)
    row = told.rows[begin : begin + row_bytes(told.rows, begin)]
    assert row == told.rows[begin:]
    assert event_of(row) == event


def test_a_rare_event_has_no_row_of_its_own() -> None:
    told = rows_of([[e.Repeated(1, 2)]])
    with pytest.raises(AssertionError):
        event_of(told.rows)


@given(event=RARE)
def test_all_of_a_rare_event_is_digested(event: e.AnyEvent) -> None:
    """Its MessagePack follows the head, filled up to whole words; without a digest, nothing."""
    said = encode(event)
    rows = rows_of([[event]]).rows
    assert rows[OTHER_BYTES:] == said.ljust(filled_up(len(said)), b"\0")
    assert len(rows_of([[event]], digesting=False).rows) == OTHER_BYTES


def test_commands_of_a_group_are_told_apart() -> None:
    """The digest is over the rows alone, so those must say where a command's events end."""
    one, two = e.Posted(e.EntryKind.TRADE, 1, 2, 3, 4), e.TimeAdvanced(5)
    assert rows_of([[one, two]]).rows != rows_of([[one], [two]]).rows


def test_the_bytes_stay_what_they_are() -> None:
    """Digests of outcomes are compared across releases of the same rules: `RULES_VERSION`."""
    told = rows_of([
        [e.OrderAccepted(11, 12, bytes(range(16)), 13, 2, 14, 15)],
        [e.OrderFilled(21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 1)],
        [e.OrderClosed(31, 32, 33, e.OrderState.CANCELED, Reason.CANCELLED_BY_OWNER, 34)],
        [e.Posted(e.EntryKind.TRADE, 41, 42, 43, 44), e.Refused(Reason.UNKNOWN_ORDER, 51, 52)],
        [e.TimeAdvanced(61), e.Repeated(71, 72)],
    ])  # fmt: skip
    repeated = encode(e.Repeated(71, 72))
    ended = e.OrderState.CANCELED | Reason.CANCELLED_BY_OWNER << 8
    assert told.rows == b"".join([
        words(head(1, 2, 0), 11, 12 | 13 << 32), bytes(range(16)), words(14, 15),
        words(head(2, 1, 1), 21, 26 | 29 << 32, 25, 28, 27, 30, 23, 24, 22),
        words(head(3, ended, 2), 31, 32 | 33 << 32, 34),
        words(head(4, e.EntryKind.TRADE, 3), 41 | 42 << 32, 43, 44),
        words(head(5, Reason.UNKNOWN_ORDER, 3), 51, 52),
        words(head(6, 0, 4), 61),
        words(head(7, 0, 4), len(repeated) << 32), repeated, bytes(-len(repeated) % 8),
    ])  # fmt: skip


def head(kind: int, small: int, command: int) -> int:
    return kind | small << 8 | command << 32


def words(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}q", *numbers)


@pytest.mark.parametrize("kind", get_args(e.AnyEvent))
@settings(max_examples=20)  # of each kind
@given(data=st.data(), digesting=st.booleans())
def test_every_event_comes_back(kind: type[e.Event], data: st.DataObject, digesting: bool) -> None:
    """By a row of its own, or beside one: in both, its type and each of its fields."""
    event = data.draw(events(kind))
    told = rows_of([[event, e.TimeAdvanced(1)]], digesting=digesting)
    told.check()
    assert list(told) == [[event, e.TimeAdvanced(1)]]
    assert (told.others == []) == (kind in OWN_ROW)
    if kind not in OWN_ROW and digesting:
        said = encode(event)
        assert told.rows[OTHER_BYTES : OTHER_BYTES + len(said)] == said


def test_no_command_has_no_events() -> None:
    NO_EVENTS.check()
    assert list(NO_EVENTS) == []
    assert repr(rows_of([[e.TimeAdvanced(1)]])) == "[[TimeAdvanced(now_ns=1)]]"


def test_much_memory_is_let_go() -> None:
    """What a group has written stays for the next one's use, up to KEPT_BYTES_MAX."""
    tape = EventTape()
    memory = tape._rows
    most = KEPT_BYTES_MAX // ADVANCED_BYTES
    for many, kept in ((1, True), (most, True), (most + 1, False)):
        tape.begin_command()
        for number in range(many):
            tape.advanced(number)
        assert [len(events) for events in tape.end()] == [many]
        tape.begin()
        assert (tape._rows is memory) == kept
        assert not len(tape._rows)

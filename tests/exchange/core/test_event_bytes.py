"""The bytes of events that no event was made for are those that msgspec makes of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from librt.strings import BytesWriter

from exchange.core import event_bytes as written
from exchange.core import events as e
from exchange.core.event_tape import EventTape, array_head

KINDS: list[tuple[Callable[..., None], type[e.Event]]] = [
    (written.write_accepted, e.OrderAccepted),
    (written.write_filled, e.OrderFilled),
    (written.write_closed, e.OrderClosed),
    (written.write_posted, e.Posted),
    (written.write_refused, e.Refused),
    (written.write_time, e.TimeAdvanced),
]
EDGES = [
    0,
    1,
    *(bound + near for bits in (7, 8, 15, 16, 31, 32) for bound in [1 << bits] for near in (-1, 0)),
]
NUMBERS = st.one_of(
    st.sampled_from([*EDGES, 2**63 - 1, -1, -32, -33, -(2**63)]), st.integers(-(2**63), 2**63 - 1)
)


def fields_of(kind: type[e.Event], number: Callable[[], int]) -> list[Any]:
    return [
        bytes(range(16)) if name == "client_order_id" else number()
        for name in kind.__struct_fields__
    ]


@pytest.mark.parametrize(("write", "kind"), KINDS, ids=lambda found: found.__name__)
@given(data=st.data())
def test_an_event_is_written_as_msgspec_would(
    write: Callable[..., None], kind: type[e.Event], data: st.DataObject
) -> None:
    fields = fields_of(kind, lambda: data.draw(NUMBERS))
    out = BytesWriter()
    write(out, *fields)
    assert out.getvalue() == written.encode(kind(*fields))


@given(counts=st.lists(st.integers(0, 20), max_size=40))
@example(counts=[15, 16, 15, 70_000, 1, 16])
def test_a_group_is_an_array_of_arrays(counts: list[int]) -> None:
    """Short ones and long ones: a long one's head takes more bytes than were left for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exchange.core.event_tape.COMPILED", True)
        tape = EventTape()
        tape.digesting = True
        tape.begin(True)
        for count in counts:
            tape.begin_command()
            for number in range(count):
                if number % 2:
                    tape.advanced(number)
                else:
                    tape.tell(e.Repeated(number, 5))
            tape.end_command()
        results = tape.end()
        assert [len(told) for told in results] == counts
        assert b"".join(tape.told) == written.encode(results)


@pytest.mark.parametrize("count", [0, 15, 16, 2**16 - 1, 2**16])
def test_the_head_of_an_array(count: int) -> None:
    assert written.encode([None] * count).startswith(array_head(count))

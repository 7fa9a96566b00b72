"""What is remembered of an order, so that a repeat is told from another order."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.core.accounts import Account
from exchange.core.client_ids import ClientIds, Remembered
from exchange.core.commands import (
    AccountKind,
    PlaceConditionalOrder,
    PlaceMultiLegOrder,
    PlaceOrder,
)
from exchange.core.id_table import Known
from exchange.core.limits import CLIENT_ID_AHEAD_MAX_NS, NS_PER_MS, ORDER_ID_RETENTION_NS
from exchange.core.placements import Placement
from exchange.core.reasons import Reason
from exchange.testing import uuid7

ORDER = PlaceOrder(7, bytes(16), 3, 1, 1, 1, 2, 500_000, 1_000, 0, 0)
FIELDS: dict[str, st.SearchStrategy[int]] = {
    "instrument_id": st.integers(0, 2**32 - 1),
    "side": st.integers(0, 255),
    "order_type": st.integers(0, 255),
    "time_in_force": st.integers(0, 255),
    "self_trade": st.integers(0, 255),
    "price_nanos": st.integers(-(2**63), 2**63 - 1),
    "quantity_mflop": st.integers(-(2**63), 2**63 - 1),
    "expire_time_ns": st.integers(-(2**63), 2**63 - 1),
    "max_cost_nanos": st.integers(-(2**63), 2**63 - 1),
}


def content(order: PlaceOrder) -> bytes:
    placed = Placement()
    placed.read(order)
    return Known(placed.kind, placed.digest, 0).content()


def conditional(**changes: Any) -> PlaceConditionalOrder:
    plain = PlaceConditionalOrder(*msgspec.structs.astuple(ORDER))
    return msgspec.structs.replace(plain, **changes)


def test_contents_are_the_same_on_every_machine() -> None:
    """A journal is replayed by other builds and Pythons; both forms of the core run this."""
    assert content(ORDER).hex() == "1ec104106fccafce71"
    capped = msgspec.structs.replace(ORDER, expire_time_ns=1, max_cost_nanos=-1)
    assert content(capped).hex() == "1eb37e933a8197475f"


@given(name=st.sampled_from(sorted(FIELDS)), data=st.data())
def test_another_field_is_another_content(name: str, data: st.DataObject) -> None:
    base = msgspec.structs.replace(
        ORDER, **{field: data.draw(values, field) for field, values in FIELDS.items()}
    )
    other = msgspec.structs.replace(base, **{name: data.draw(FIELDS[name], "other")})
    assert (content(other) == content(base)) == (other == base)


@given(price=st.integers(-1_000, 1_000), quantity=st.integers(-1_000, 1_000))
def test_small_differences_never_cancel_out(price: int, quantity: int) -> None:
    other = msgspec.structs.replace(
        ORDER, price_nanos=ORDER.price_nanos + price, quantity_mflop=ORDER.quantity_mflop + quantity
    )
    assert (content(other) == content(ORDER)) == (other == ORDER)


def test_whose_order_it_is_and_its_id_are_no_part() -> None:
    other = msgspec.structs.replace(ORDER, account_id=8, client_order_id=b"x" * 16)
    assert content(other) == content(ORDER)


def test_the_stream_is_no_part() -> None:
    assert content(conditional(stream_id=5)) == content(ORDER)
    assert content(conditional(stream_id=5, hidden=1)) == content(conditional(hidden=1))
    assert content(conditional(hidden=1)) != content(ORDER)
    assert content(conditional(hidden=1)) != content(conditional(all_or_none=1))
    legged = PlaceMultiLegOrder(*msgspec.structs.astuple(ORDER))
    contents = [
        content(msgspec.structs.replace(legged, stream_id=i, legs=(1, 2, 3))) for i in (0, 5)
    ]
    assert contents[0] == contents[1] != content(ORDER)


@pytest.mark.parametrize("now_ns", [0, 1, NS_PER_MS, 10**18, 10**18 + 1, 10**18 + 999_999])
@given(data=st.data())
def test_the_times_of_new_ids(now_ns: int, data: st.DataObject) -> None:
    """The bounds in bytes are those in nanoseconds."""
    edges = [now_ns - ORDER_ID_RETENTION_NS, now_ns + CLIENT_ID_AHEAD_MAX_NS]
    near = st.sampled_from(edges).flatmap(lambda edge: st.integers(edge - 10**7, edge + 10**7))
    made_ns = max(0, data.draw(near)) // NS_PER_MS * NS_PER_MS
    account = Account(1, AccountKind.PAPER, "a")
    found = ClientIds(ORDER_ID_RETENTION_NS).find(account, uuid7(made_ns), 0, 0, now_ns)
    if made_ns < edges[0]:
        assert found == Remembered(Reason.CLIENT_ID_TOO_OLD, 0)
    elif made_ns > edges[1]:
        assert found == Remembered(Reason.CLIENT_ID_IN_FUTURE, 0)
    else:
        assert found is None

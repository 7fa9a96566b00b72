"""Every reason that the core can give, reached by one small scene each; none is dead."""

from __future__ import annotations

from typing import Final

import pytest

from exchange.core.reasons import Reason
from tests.exchange.core import reasons_at_entry, reasons_later
from tests.exchange.core.reason_table import CASES
from tests.exchange.core.scenario import Market

NOT_FROM_THE_CORE: Final = {
    Reason.NONE: "no refusal at all",
    Reason.ROLE_MISSING: "the gateway's: it knows the caller's key",
    Reason.NO_LIQUIDITY: "reserved: a market order without a counterpart answers 606 or 607",
    Reason.ATTEMPTS_EXHAUSTED: "reserved: a job that failed too often ends with its last fault",
}


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.name)
def test_reason_is_reached(market: Market, reason: Reason) -> None:
    if reason in NOT_FROM_THE_CORE:
        assert reason not in CASES
    else:
        assert CASES[reason](market) == reason


def test_the_scenes_are_in_the_table() -> None:
    scenes = {case.__module__ for case in CASES.values()}
    assert scenes == {reasons_at_entry.__name__, reasons_later.__name__}

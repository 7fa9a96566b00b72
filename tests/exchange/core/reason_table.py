"""The table of scenes that each end in one reason; two modules fill it."""

from __future__ import annotations

from collections.abc import Callable

from exchange.core.reasons import Reason
from tests.exchange.core.scenario import Market

Case = Callable[[Market], Reason]
CASES: dict[Reason, Case] = {}


def gives(reason: Reason) -> Callable[[Case], Case]:
    """This scene ends in that reason."""

    def register(case: Case) -> Case:
        assert reason not in CASES
        CASES[reason] = case
        return case

    return register

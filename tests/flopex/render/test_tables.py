"""Tables where there is little room."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console

from exchange.client import Alert, AlertCondition, AlertState, Webhook, WebhookState
from flopex.render.tables import cut, plain_table
from flopex.render.webhooks import alerts_table, webhooks_table

if TYPE_CHECKING:
    from rich.table import Table


def shown(table: Table, width: int) -> list[str]:
    """The lines of a table on a terminal so wide, without its head and its empty lines."""
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    file = console.file
    assert isinstance(file, io.StringIO)
    return [line.strip() for line in file.getvalue().splitlines() if line.strip()][2:]


def test_what_an_endpoint_says_gives_way_and_numbers_stay_whole() -> None:
    wrong = "ClientConnectorError: Cannot connect to host " + "x" * 100
    webhook = Webhook(
        3, "https://example.org/" + "hook" * 100, WebhookState.FAILING, 1, 2, 1_234, 35, 7, wrong, 0
    )
    (line,) = shown(webhooks_table([webhook]), 120)
    assert line.split()[:5] == ["3", "failing", "1,234", "35", "7"]
    assert "ClientConnectorError" in line
    assert "https://example.org/" in line
    assert line.count("…") == 2
    (line,) = shown(webhooks_table([webhook]), 1_000)
    assert wrong in line
    assert webhook.url in line


def test_an_alert_is_told_with_its_trade() -> None:
    armed = Alert(1, 0, "paper", AlertCondition.BELOW, 500, AlertState.ARMED, 1, 0, 0, 0)
    gone_off = Alert(
        2, 3, "paper", AlertCondition.ABOVE, 1_500, AlertState.TRIGGERED, 1, 1_600, 10**18, 9
    )
    one, two = shown(alerts_table([armed, gone_off]), 120)
    assert one.split() == ["1", "paper", "500", "nano$/CU", "or", "below", "armed", "-"]
    assert two.split()[2:7] == ["1,500", "nano$/CU", "or", "above", "triggered"]
    assert (two.split()[7], two.split()[-1]) == ("1,600", "3")


def test_a_table_that_is_too_wide_has_its_rows_one_below_the_other_and_cuts_nothing() -> None:
    table = plain_table("instrument", "price", "", right=("price",))
    table.add_row("smollm2-135m/cpu/interactive", "1,000-50,000,000", "")
    table.add_row("paper", "7", "halted")
    console = Console(file=io.StringIO(), width=50)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert lines == [
        [],
        ["instrument", "smollm2-135m/cpu/interactive"],
        ["price", "1,000-50,000,000"],
        [],
        ["instrument", "paper"],
        ["price", "7"],
        ["halted"],
        [],
    ]
    assert shown(table, 58)[0].split() == ["smollm2-135m/cpu/interactive", "1,000-50,000,000"]


def test_every_width_shows_every_digit() -> None:
    table = plain_table("paid", "ending", right=("paid",), stretch=("ending",))
    table.add_row("$0.000009812", cut("deadline infeasible"))
    for width in range(24, 60):
        console = Console(file=io.StringIO(), width=width)
        console.print(table)
        assert isinstance(console.file, io.StringIO)
        assert "$0.000009812" in console.file.getvalue(), width

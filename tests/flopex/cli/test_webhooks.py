"""Webhooks and price alerts from the command line."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.flopex.cli.conftest import PAPER, Site
from tests.waiting import WITHIN_S

pytestmark = pytest.mark.integration

# A name that leads to no public address: it is taken, and nothing is ever called.
URL = "https://localhost:1/hook"


def only(site: Site, what: str) -> Any:
    (found,) = site.flopex(what, "list", "--json").object()[f"{what}s"]
    return found


def test_a_webhook_from_its_secret_to_its_end(site: Site) -> None:
    assert site.flopex("webhook", "list").out == "no webhooks\n"
    added = site.flopex("webhook", "add", URL)
    assert added.code == 0, added.err
    # The secret is all of stdout, so that it can go into a file; what to do with it is a note.
    assert added.out.startswith("whsec_")
    assert len(added.out.split()) == 1
    assert "shown this once" in added.err
    made = only(site, "webhook")
    assert (made["url"], made["state"], made["told"]) == (URL, "ok", 0)
    number = str(made["webhook_id"])
    shown = site.flopex("webhook", "list").out
    assert URL in shown
    assert added.out.strip() not in shown
    tested = site.flopex("webhook", "test", number, "--json")
    assert tested.object() == {"tested": made["webhook_id"]}
    until = time.monotonic() + WITHIN_S
    while only(site, "webhook")["state"] != "failing" and time.monotonic() < until:
        time.sleep(0.1)
    assert "no public address" in only(site, "webhook")["last_status"]
    assert site.flopex("webhook", "remove", number).out == (
        f"webhook {number} is gone, and so are its alerts\n"
    )
    assert site.flopex("webhook", "list", "--json").object() == {"webhooks": []}


def test_an_alert_goes_off_once_and_is_listed_until_it_is_removed(site: Site) -> None:
    assert site.flopex("alert", "list").out == "no alerts\n"
    added = site.flopex("alert", "add", PAPER, "above", "60000 nanos")
    assert added.code == 0, added.err
    assert added.out.endswith(f"{PAPER} at 60,000 nano$/CU or above\n")
    assert "nobody is called" in added.err
    for side, key in (("ask", "paper-ada"), ("bid", "paper-ben")):
        terms = ("--price", "60010 nanos", "--quantity", "3")
        assert site.flopex("order", "place", side, PAPER, *terms, key=key).code == 0
    until = time.monotonic() + WITHIN_S
    while only(site, "alert")["state"] == "armed" and time.monotonic() < until:
        time.sleep(0.1)
    found = only(site, "alert")
    assert (found["state"], found["trade_price_nanos"]) == ("triggered", 60_010)
    shown = site.flopex("alert", "list").out
    assert "60,000 nano$/CU or above" in shown
    assert "60,010" in shown
    removed = site.flopex("alert", "remove", str(found["alert_id"]), "--json")
    assert removed.object() == {"removed": found["alert_id"]}
    assert site.flopex("alert", "list", "--json").object() == {"alerts": []}


def test_an_alert_may_call_a_webhook_and_ends_with_it(site: Site) -> None:
    made = site.flopex("webhook", "add", URL, "--json").object()
    assert made["secret"].startswith("whsec_")
    number = str(made["webhook"]["webhook_id"])
    terms = (PAPER, "below", "10 nanos", "--webhook", number, "--json")
    added = site.flopex("alert", "add", *terms).object()
    assert (added["webhook_id"], added["condition"]) == (int(number), "below")
    assert site.flopex("webhook", "remove", number).code == 0
    assert site.flopex("alert", "list", "--json").object() == {"alerts": []}


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("webhook", "add", "http://example.org/"), 1, "FIELD_INVALID"),
        (("webhook", "test", "999"), 6, "UNKNOWN_WEBHOOK"),
        (("webhook", "remove", "999"), 6, "UNKNOWN_WEBHOOK"),
        (("alert", "add", "nowhere", "above", "1 nanos"), 6, "UNKNOWN_INSTRUMENT"),
        (("alert", "add", PAPER, "above", "1 nanos", "--webhook", "999"), 6, "UNKNOWN_WEBHOOK"),
        (("alert", "add", PAPER, "above", "0"), 1, "FIELD_INVALID"),
        (("alert", "remove", "999"), 6, "UNKNOWN_ALERT"),
    ],
)
def test_what_is_refused_has_its_exit_code_and_reason(
    site: Site, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    result = site.flopex(*arguments, "--json")
    assert (result.code, result.error()["reason"]) == (code, reason)


def test_a_wrong_condition_and_a_wrong_price_are_wrong_usage(site: Site) -> None:
    assert site.flopex("alert", "add", PAPER, "near", "1 nanos").code == 2
    assert site.flopex("alert", "add", PAPER, "above", "cheap").code == 2
    assert site.flopex("webhook", "test", "0").code == 2

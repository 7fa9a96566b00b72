"""Arguments that no request can hold: an error and an exit code, and no traceback."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import pytest

from flopex.cli.exits import ExitCode
from flopex.cli.failures import explained
from tests.flopex.cli.conftest import PAPER, Site
from tests.flopex.cli.runner import run

HUGE = "99999999999999999999"
NO_UTF8 = "b\udcffb"
"""How Python reads the bytes b, 0xff, b of a command line."""
BID = ("order", "place", "bid", PAPER, "--json")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("jobs", HUGE, "--json"), f"value out of range: {HUGE}"),
        (("jobs", "--json", "--", "-1"), "value out of range: -1"),
        ((*BID, "--price", "100 nanos", "--quantity", HUGE), f"value out of range: {HUGE}"),
        ((*BID, "--price", f"{HUGE} nanos", "--quantity", "1"), f"value out of range: {HUGE}"),
        (("admin", "deposit", "ada", HUGE, "--json"), f"value out of range: {HUGE}" + 9 * "0"),
        (
            ("admin", "account", NO_UTF8, "--json"),
            r"text that is not UTF-8 cannot be sent: 'b\udcffb'",
        ),
    ],
)
def test_what_no_request_can_hold_is_wrong_usage(
    site: Site, arguments: tuple[str, ...], said: str
) -> None:
    failed = site.flopex(*arguments, key="operator" if arguments[0] == "admin" else "ada")
    assert failed.code == ExitCode.USAGE
    assert (failed.error()["reason"], failed.error()["message"]) == ("USAGE", said)


def test_people_are_told_in_words_as_well(site: Site) -> None:
    failed = site.flopex("jobs", "--", "-1")
    assert failed.code == ExitCode.USAGE
    assert failed.err.startswith("error: value out of range: -1\n")


@pytest.mark.parametrize("option", [(), ("--lease",)])
def test_a_receipt_of_number_zero_is_wrong_usage(site: Site, option: tuple[str, ...]) -> None:
    failed = site.flopex("receipt", "show", "--json", *option, "0")
    assert failed.code == ExitCode.USAGE
    assert failed.error()["reason"] == "USAGE"


def test_a_key_that_cannot_be_sent_is_wrong_usage() -> None:
    failed = run("account", "--json", env={"FLOPEX_KEY": "flx_ä", "FLOPEX_TARGET": "127.0.0.1:9"})
    assert failed.exit_code == ExitCode.USAGE
    assert "key" in failed.stderr


def raised(source: str, module: str) -> Exception:
    """What a line of a module raises."""
    code = compile(f"def line():\n    {source}\n", module, "exec").co_consts[0]
    line: Any = FunctionType(code, {"__name__": module, "__builtins__": __builtins__})
    try:
        line()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("source", "module", "usage"),
    [
        ("raise ValueError('give one')", "exchange.client.accounts", True),
        ("(1).to_bytes(0)", "exchange.client.packed_orders", True),
        ("'\\udcff'.encode()", "exchange.client.jobs", True),
        # What was received, a defect below the client, and one beside it.
        ("b'\\xff'.decode()", "exchange.client.jobs", False),
        ("import json; json.loads('{')", "exchange.client.jobs", False),
        ("raise ValueError('a defect')", "flopex.render.tables", False),
        ("raise ValueError('a defect')", "exchange.clients", False),
        ("raise KeyError('a defect')", "exchange.client.jobs", False),
    ],
)
def test_only_what_the_client_refuses_is_wrong_usage(
    source: str, module: str, *, usage: bool
) -> None:
    found = explained(raised(source, module), "127.0.0.1:7411")
    assert (found is not None) is usage
    if found is not None:
        assert found.code == ExitCode.USAGE


def test_a_workers_settings_are_looked_at_before_it_waits_for_an_exchange() -> None:
    asked = ("worker", "run", "--engine", "adaptive", "--slots", "300", "--quote", "a=static:1")
    nowhere = {"FLOPEX_KEY": "flx_x", "FLOPEX_TARGET": "127.0.0.1:1"}
    done = run(*asked, "--json", env=nowhere)
    assert done.exit_code == ExitCode.USAGE
    assert "at most 256 slots" in done.stderr

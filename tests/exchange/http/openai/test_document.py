"""The page of parameters says what the tables in the code say."""

from __future__ import annotations

import json
import re
from pathlib import Path

from exchange.http.openai.budget import FIELDS
from exchange.http.openai.parameters import CHAT, COMPLETIONS, RESPONSES, Parameters

PAGE = (Path(__file__).parents[4] / "docs/reference/openai.md").read_text()
FORMS = (CHAT, COMPLETIONS, RESPONSES)


def cell(table: Parameters, name: str) -> str:
    """What the page says of a parameter at one endpoint."""
    if name in table.used:
        return "used"
    if name in table.harmless:
        return "no effect"
    only = table.limited.get(name)
    if only is None:
        return ""
    return ", ".join(f"`{json.dumps(value)}`" for value in only.values) or "refused"


def test_every_parameter_stands_in_the_table_as_it_is() -> None:
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|(.*)\|(.*)\|$", PAGE, re.MULTILINE)
    told = {name: tuple(text.strip() for text in cells) for name, *cells in rows}
    names = sorted({n for t in FORMS for n in (*t.used, *t.harmless, *t.limited)})
    assert told == {name: tuple(cell(table, name) for table in FORMS) for name in names}
    assert list(told) == names


def test_every_field_of_a_budget_is_explained() -> None:
    told = re.findall(r"^\| `(\w+)` \| `X-Flopex-([\w-]+)` \|", PAGE, re.MULTILINE)
    assert {name for name, _ in told} == {*FIELDS.used, *FIELDS.limited}
    assert all(header.lower().replace("-", "_") == name for name, header in told)

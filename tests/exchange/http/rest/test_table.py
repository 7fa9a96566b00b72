"""The table of routes against the methods and messages that it names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from exchange.http.rest.table import ROUTES
from exchange.rpc.methods import METHODS

ROOT = Path(__file__).parents[4]


def test_every_method_that_http_can_carry_has_a_route() -> None:
    called = {route.method.path for route in ROUTES}
    both_ways = {path for path, method in METHODS.items() if method.requests_stream}
    assert called | both_ways == set(METHODS)
    assert not called & both_ways


def test_the_page_of_routes_is_the_table() -> None:
    page = (ROOT / "docs/reference/rest.md").read_text()
    rows = re.findall(r"^\| `(\w+) (/v1/\S+)` \| `(\w+)\.(\w+)` \|", page, re.MULTILINE)
    told = [(verb, path, f"{service}/{name}") for verb, path, service, name in rows]
    assert told == [(route.verb, route.path, route.call) for route in ROUTES]


def test_every_parameter_and_key_is_a_field() -> None:
    for route in ROUTES:
        for path in (*map(route.field_of, route.parameters), *filter(None, (route.key,))):
            message = route.method.request_class()
            *outer, name = path.split(".")
            for step in outer:
                message = getattr(message, step)
            assert name in message.DESCRIPTOR.fields_by_name, (route.path, path)


def test_no_request_has_a_field_that_json_is_not_read_into() -> None:
    seen: set[str] = set()

    def look(descriptor: Any) -> None:
        if descriptor.full_name in seen:
            return
        seen.add(descriptor.full_name)
        assert not descriptor.oneofs, descriptor.full_name
        for field in descriptor.fields:
            assert field.cpp_type != FieldDescriptor.CPPTYPE_DOUBLE
            assert field.cpp_type != FieldDescriptor.CPPTYPE_FLOAT
            if field.message_type is not None:
                assert not field.message_type.GetOptions().map_entry
                look(field.message_type)

    for route in ROUTES:
        look(route.method.request_class.DESCRIPTOR)
    assert len(seen) > 40

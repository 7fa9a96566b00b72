"""JSON Schemas of the API's messages, as `exchange.http.rest.messages` reads and writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

from exchange.http.rest.messages import BOUNDS, INTEGERS_64

Schema = dict[str, Any]

REQUEST_SUFFIX: Final = ".Request"
"""Ends the name of a schema of a message that is sent in requests and in answers, as it is read."""
_UUID: Final = "In a request it may be written as a UUID, too."


class Schemas:
    """Makes schemas, and collects those that are referred to by name.

    Args:
        comments: Of everything, by its full name.
        answered: Full names of the messages that answers hold: only there a suffix is needed.
    """

    def __init__(self, comments: Mapping[str, str], answered: frozenset[str]) -> None:
        self._comments = comments
        self._answered = answered
        self.named: dict[str, Schema] = {}

    def reference(self, message: Any, *, sent: bool) -> Schema:
        """A reference to a message's schema; `sent` is how it is read from a request."""
        suffix = REQUEST_SUFFIX if sent and message.full_name in self._answered else ""
        name = message.name + suffix
        if name not in self.named:
            self.named[name] = {}  # so that a message in itself ends
            self.named[name] = self.message(message, sent=sent)
        return {"$ref": f"#/components/schemas/{name}"}

    def message(self, message: Any, *, sent: bool, without: Iterable[str] = ()) -> Schema:
        """A message's own schema.

        Args:
            message: Its descriptor.
            sent: As it is read from a request.
            without: Paths of fields that are left out.
        """
        left_out = {path for path in without if "." not in path}
        inside = {path.partition(".")[0]: path.partition(".")[2] for path in without if "." in path}
        properties = {}
        for field in message.fields:
            if field.name in inside:
                properties[field.name] = self.message(
                    field.message_type, sent=sent, without=(inside[field.name],)
                )
            elif field.name not in left_out:
                properties[field.name] = self.field(field, sent=sent)
        schema: Schema = {
            "type": "object",
            "description": self._comments[message.full_name],
            "properties": properties,
        }
        if sent:
            return schema | {"additionalProperties": False}
        return schema | {"required": [f.name for f in message.fields if _always_there(f)]}

    def field(self, field: Any, *, sent: bool) -> Schema:
        """A field's schema, with its comment."""
        says = self._comments[field.full_name]
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            values = self._one(field.message_type.fields_by_name["value"], sent=sent)
            return {"type": "object", "additionalProperties": values, "description": says}
        one = self._one(field, sent=sent)
        if field.is_repeated:
            return {"type": "array", "items": one, "description": says}
        if sent and field.type == FieldDescriptor.TYPE_BYTES and field.name.endswith("_id"):
            says = f"{says} {_UUID}"
        return one | {"description": says}

    def parameter(self, field: Any) -> Schema:
        """The schema of a field as a parameter of a URL, where integers are plain digits."""
        if field.cpp_type in BOUNDS and field.enum_type is None:
            return _integer(field.cpp_type)
        return self._one(field, sent=True)

    def _one(self, field: Any, *, sent: bool) -> Schema:
        """One value of a field."""
        if field.message_type is not None:
            return self.reference(field.message_type, sent=sent)
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return {"type": "boolean"}
        if field.cpp_type in INTEGERS_64:
            signed = field.cpp_type == FieldDescriptor.CPPTYPE_INT64
            pattern = "^-?[0-9]{1,20}$" if signed else "^[0-9]{1,20}$"
            text = {"type": "string", "format": _format(field.cpp_type), "pattern": pattern}
            either = text | {"type": ["string", "integer"]} | _range(field.cpp_type)
            return either if sent else text
        if field.cpp_type in BOUNDS:
            return _integer(field.cpp_type)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return {"type": "string", "contentEncoding": "base64"}
        return {"type": "string"}

    def _enum(self, kind: Any) -> Schema:
        if kind.name not in self.named:
            meanings = [f"* `{v.name}`: {self._comments[_value(kind, v)]}" for v in kind.values]
            self.named[kind.name] = {
                "type": "string",
                "description": "\n".join([self._comments[kind.full_name], "", *meanings]),
                "enum": [value.name for value in kind.values],
            }
        return {"$ref": f"#/components/schemas/{kind.name}"}


def _value(kind: Any, value: Any) -> str:
    return f"{kind.full_name}.{value.name}"


def _always_there(field: Any) -> bool:
    """Whether an answer has the field whatever its value."""
    single = field.message_type is not None and not field.is_repeated
    return not single and field.containing_oneof is None


def _format(kind: int) -> str:
    names = {
        FieldDescriptor.CPPTYPE_INT32: "int32",
        FieldDescriptor.CPPTYPE_UINT32: "uint32",
        FieldDescriptor.CPPTYPE_INT64: "int64",
        FieldDescriptor.CPPTYPE_UINT64: "uint64",
    }
    return names[kind]


def _range(kind: int) -> Schema:
    least, most = BOUNDS[kind]
    return {"minimum": least, "maximum": most}


def _integer(kind: int) -> Schema:
    return {"type": "integer", "format": _format(kind)} | _range(kind)

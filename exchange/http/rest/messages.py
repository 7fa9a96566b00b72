"""Messages of the API from JSON and queries, and to JSON: ProtoJSON with the fields' own names.

Reading is stricter than ProtoJSON: what is unknown, null, repeated or of another type is refused,
and the refusal names the field. 64-bit integers are read as numbers or strings, and always written
as strings: a type must not depend on a value.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from typing import Any, Final, cast

import msgspec
from google.protobuf import json_format
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from exchange.http.errors import ApiError

BOUNDS: Final = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
"""The least and the greatest integer of each type."""
ITEMS_MAX: Final = 10_000
"""Items of one list of a request: more than any method takes. They are read before the key is."""
INTEGERS_64: Final = frozenset({FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64})
DECIMAL: Final = re.compile(r"-?[0-9]{1,20}", re.ASCII)
UUID_TEXT: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.I)


def invalid(param: str, message: str) -> ApiError:
    """A field or parameter is not what it must be."""
    return ApiError(400, "FIELD_INVALID", f"{param} {message}", param)


def to_json(message: Message) -> bytes:
    """The message as JSON, with every field that it has, whatever its value."""
    return msgspec.json.encode(to_values(message))


def to_values(message: Message) -> dict[str, Any]:
    """The message as plain values, ready for JSON."""
    found: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return found


def fill(message: Message, values: object, path: str = "") -> None:
    """Fill a message from a JSON object.

    Args:
        message: Gets the fields.
        values: What the client sent.
        path: Of the message in the request, for refusals.

    Raises:
        ApiError: 400 (FIELD_INVALID) with the field's path.
    """
    if not isinstance(values, dict):
        raise invalid(path or "body", "must be a JSON object")
    for name, value in values.items():
        at = f"{path}.{name}" if path else name
        _put(message, _field(message, name, at), value, at)


def fill_text(message: Message, path: str, text: str, param: str) -> None:
    """Fill one field from a text: a parameter of a URL.

    Args:
        message: Gets the field.
        path: Of the field, with dots.
        text: Its value; of a repeated field, one more value.
        param: Name of the parameter, for refusals.

    Raises:
        ApiError: 400 (FIELD_INVALID).
    """
    *outer, name = path.split(".")
    for step in outer:
        if _field(message, step, param).message_type is None:
            raise unknown(param)
        message = getattr(message, step)
    field = _field(message, name, param)
    if field.message_type is not None:
        raise invalid(param, f"is a message: give its fields as {param}.NAME")
    value = _of_text(field, text, param)
    _put(message, field, [value] if field.is_repeated else value, param)


def is_repeated(message: Message, path: str) -> bool:
    """Whether a parameter of this name may be given more than once."""
    found = message.DESCRIPTOR.fields_by_name.get(path)
    return found is not None and bool(found.is_repeated)


def unknown(param: str) -> ApiError:
    """There is no such field or parameter."""
    return ApiError(400, "FIELD_UNKNOWN", f"there is no field {param!r} here", param)


def _field(message: Message, name: str, at: str) -> FieldDescriptor:
    # Names are ASCII, and protobuf looks none up that UTF-8 cannot hold.
    found = message.DESCRIPTOR.fields_by_name.get(name) if name.isascii() else None
    if found is None:
        raise unknown(at)
    return cast("FieldDescriptor", found)


def _put(message: Message, field: FieldDescriptor, value: object, path: str) -> None:
    """Set one field, or extend it."""
    if field.is_repeated:
        if not isinstance(value, list):
            raise invalid(path, "must be a list")
        if len(value) > ITEMS_MAX:
            raise invalid(path, f"must have at most {ITEMS_MAX} items")
        there = getattr(message, field.name)
        for position, item in enumerate(value):
            at = f"{path}[{position}]"
            if field.message_type is not None:
                fill(there.add(), item, at)
            else:
                there.append(_scalar(field, item, at))
    elif field.message_type is not None:
        part = getattr(message, field.name)
        part.SetInParent()
        fill(part, value, path)
    else:
        setattr(message, field.name, _scalar(field, value, path))


def _scalar(field: FieldDescriptor, value: object, path: str) -> object:
    """The value of a field that is no message, from its JSON."""
    kind = field.cpp_type
    if field.enum_type is not None:
        return _enum(field.enum_type, value, path)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        if not isinstance(value, bool):
            raise invalid(path, "must be true or false")
        return value
    if kind in BOUNDS:
        return _integer(kind, value, path)
    if not isinstance(value, str):
        raise invalid(path, "must be a string")
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _bytes(field, value, path)
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise invalid(path, "holds half of a surrogate pair")
    return value


def _integer(kind: int, value: object, path: str) -> int:
    least, most = BOUNDS[kind]
    if kind in INTEGERS_64 and isinstance(value, str) and DECIMAL.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        wanted = "an integer, as a number or a string" if kind in INTEGERS_64 else "an integer"
        raise invalid(path, f"must be {wanted}")
    if not least <= value <= most:
        raise invalid(path, f"must lie between {least} and {most}")
    return value


def _enum(kind: EnumDescriptor, value: object, path: str) -> int:
    is_name = isinstance(value, str) and value.isascii()
    found = kind.values_by_name.get(str(value)) if is_name else None
    if found is None:
        names = ", ".join(known.name for known in kind.values)
        raise invalid(path, f"must be one of {names}")
    return int(found.number)


def _bytes(field: FieldDescriptor, text: str, path: str) -> bytes:
    """Bytes in base64 of either alphabet; an id may be written as a UUID, too."""
    if field.name.endswith("_id") and UUID_TEXT.fullmatch(text):
        return uuid.UUID(text).bytes
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(path, "must be base64") from error


def _of_text(field: FieldDescriptor, text: str, param: str) -> object:
    """A parameter's text as the JSON value that it stands for."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if text not in ("true", "false"):
            raise invalid(param, "must be true or false")
        return text == "true"
    if field.cpp_type in BOUNDS and field.enum_type is None:
        if not DECIMAL.fullmatch(text):
            raise invalid(param, "must be an integer")
        return int(text)
    return text

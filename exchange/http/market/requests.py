"""What clients say, and what they are answered: JSON text messages."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from exchange.http import errors
from exchange.http.errors import ApiError
from exchange.http.market.channels import CHANNELS, TRADES_RECENT_MAX, Topic, head
from exchange.rpc.errors import RpcError

DEPTH_DEFAULT: Final = 10
DEPTH_MAX: Final = 100
"""Levels of each side of a book, as over gRPC."""

Id = int | str | None
"""What a client calls its message by; it comes back with the answer."""


class Auth(msgspec.Struct, tag_field="method", tag="auth", forbid_unknown_fields=True):
    """Say who asks, where no header could."""

    key: str
    id: Id = None


class Subscribe(msgspec.Struct, tag_field="method", tag="subscribe", forbid_unknown_fields=True):
    """Watch something.

    Attributes:
        depth: Levels of each side, of books.
        recent: Past trades to begin with, of trades.
    """

    channel: str
    instrument: str = ""
    depth: int | None = None
    recent: int | None = None
    id: Id = None

    def topic(self) -> Topic:
        """What about.

        Raises:
            ApiError: there is no such thing.
        """
        _require_channel(self.channel, self.instrument)
        if self.channel != "book" and self.depth is not None:
            raise invalid("depth", "is for the channel book")
        if self.channel != "trades" and self.recent is not None:
            raise invalid("recent", "is for the channel trades")
        if not 0 <= (self.recent or 0) <= TRADES_RECENT_MAX:
            raise invalid("recent", f"must be at most {TRADES_RECENT_MAX}")
        depth = self.depth if self.depth is not None else DEPTH_DEFAULT
        if not 1 <= depth <= DEPTH_MAX:
            raise invalid("depth", f"must be from 1 to {DEPTH_MAX}")
        return Topic(self.channel, self.instrument, depth if self.channel == "book" else 0)


class Unsubscribe(
    msgspec.Struct, tag_field="method", tag="unsubscribe", forbid_unknown_fields=True
):
    """Watch it no more."""

    channel: str
    instrument: str = ""
    id: Id = None


class Ping(msgspec.Struct, tag_field="method", tag="ping", forbid_unknown_fields=True):
    """Ask for an answer."""

    id: Id = None


Request = Auth | Subscribe | Unsubscribe | Ping

_DECODER: Final[msgspec.json.Decoder[Request]] = msgspec.json.Decoder(Request)
_STRANGERS: Final[msgspec.json.Decoder[Auth | Ping]] = msgspec.json.Decoder(Auth | Ping)
_encode: Final = msgspec.json.Encoder().encode


def decode(text: str) -> Request:
    """What the client says.

    Raises:
        ApiError: it is no such message; `of_id` finds out which.
    """
    try:
        return _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise ApiError(400, "MESSAGE_MALFORMED", f"the message cannot be read: {error}") from error


def decode_stranger(text: str) -> Auth | Ping:
    """What a client says that has given no key; the rest of what may be said is not looked at.

    Raises:
        ApiError: 401: it is something else.
    """
    try:
        return _STRANGERS.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        remedy = 'first say {"method": "auth", "key": "flx_..."}'
        raise ApiError(401, "KEY_MISSING", remedy) from error


def of_id(text: str) -> Id:
    """The id of a message that is wrong otherwise; None where it has none."""
    try:
        found = msgspec.json.decode(text, type=_Named)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
    return found.id


class _Named(msgspec.Struct):
    id: Id = None


def invalid(param: str, text: str) -> ApiError:
    """A field has a value outside its range or grammar."""
    return ApiError(400, "FIELD_INVALID", f"{param} {text}", param)


def result(request_id: Id, found: dict[str, Any]) -> bytes:
    """An answer."""
    return _encode({"id": request_id, "result": found})


def refusal(request_id: Id, error: ApiError) -> bytes:
    """An answer that is none."""
    return _encode({"id": request_id, "error": _fields(error)})


def ending(topic: Topic, error: RpcError) -> bytes:
    """The last message of a subscription that the exchange ends."""
    fields = _fields(errors.of_rpc(error))
    if "resume_from" in error.metadata:
        fields["resume_from"] = error.metadata["resume_from"]
    return _encode({**head(topic.channel, topic.instrument), "error": fields})


def _fields(error: ApiError) -> dict[str, str | int | None]:
    fields = errors.fields(error)
    if error.retry_after_ms:
        fields["retry_after_ms"] = error.retry_after_ms
    return fields


def _require_channel(channel: str, instrument: str) -> None:
    if channel not in CHANNELS:
        raise invalid("channel", f"must be one of {', '.join(CHANNELS)}")
    if not instrument and channel != "trades":
        raise invalid("instrument", "must name one; all can be watched in the channel trades")

"""The methods of the API, from its own description: names, kinds and messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from exchange.rpc.calls import IncomingCall
from exchange.rpc.errors import Code, RpcError
from exchange.v1 import (
    account_service_pb2,
    admin_service_pb2,
    job_service_pb2,
    market_data_service_pb2,
    order_service_pb2,
    webhook_service_pb2,
    worker_service_pb2,
)

Behaviour = Callable[[Any, IncomingCall], Any]
"""What a servicer does: an awaitable of the response, or an iterator of responses."""

_FILES: Final = (
    account_service_pb2,
    admin_service_pb2,
    job_service_pb2,
    market_data_service_pb2,
    order_service_pb2,
    webhook_service_pb2,
    worker_service_pb2,
)


@dataclass(frozen=True, slots=True)
class Method:
    """One method.

    Attributes:
        service: Full name of its service.
        name: Its own name, which is the servicer's method's.
        requests_stream: Whether many requests come.
        responses_stream: Whether many responses go.
        request_class: Its requests.
        response_class: Its responses.
        parse: Makes a request of its bytes; raises `DecodeError`.
        parse_response: The same for a response.
        needs_key: Whether callers must say who they are.
    """

    service: str
    name: str
    requests_stream: bool
    responses_stream: bool
    request_class: type[Message]
    response_class: type[Message]
    parse: Callable[[bytes], Any]
    parse_response: Callable[[bytes], Any]
    needs_key: bool = True

    @property
    def path(self) -> str:
        """How gRPC calls it."""
        return f"/{self.service}/{self.name}"

    def decode(self, data: bytes) -> Any:
        """The request.

        Raises:
            RpcError: INVALID_ARGUMENT (MESSAGE_MALFORMED).
        """
        try:
            return self.parse(data)
        except DecodeError as error:
            raise malformed() from error

    async def only_request(self, call: IncomingCall) -> Any:
        """The one request of a method that takes one; raises as `decode`, and where none comes."""
        data = await call.read()
        if data is None:
            raise malformed()
        return self.decode(data)

    def requests(self, call: IncomingCall) -> AsyncIterator[Any]:
        """The requests of a method that takes many; raises as `decode`."""
        return _Requests(self, call)


class _Requests(AsyncIterator[Any]):
    """Reads from the call itself: quicker than a generator, and nothing to close."""

    def __init__(self, method: Method, call: IncomingCall) -> None:
        self._method = method
        self._call = call

    async def __anext__(self) -> Any:
        data = await self._call.read()
        if data is None:
            raise StopAsyncIteration
        return self._method.decode(data)


def malformed() -> RpcError:
    """The bytes are not the message."""
    return RpcError(
        Code.INVALID_ARGUMENT,
        "MESSAGE_MALFORMED",
        "the bytes are not this method's message; text fields must be valid UTF-8",
    )


def _method(found: MethodDescriptor) -> Method:
    request_class = GetMessageClass(found.input_type)
    response_class = GetMessageClass(found.output_type)
    return Method(
        service=found.containing_service.full_name,
        name=found.name,
        requests_stream=found.client_streaming,
        responses_stream=found.server_streaming,
        request_class=request_class,
        response_class=response_class,
        parse=request_class.FromString,
        parse_response=response_class.FromString,
    )


def _read_description() -> dict[str, Method]:
    services = [s for file in _FILES for s in file.DESCRIPTOR.services_by_name.values()]
    methods = [_method(found) for service in services for found in service.methods]
    return {method.path: method for method in methods}


METHODS: Final[Mapping[str, Method]] = _read_description()
"""Every method by its path."""
SERVICE_NAMES: Final = tuple(dict.fromkeys(method.service for method in METHODS.values()))
"""Full names of the services, in the order of their files."""
WEBHOOKS: Final = "exchange.v1.WebhookService"
"""The one service that not every exchange answers: what is told comes from the read model."""

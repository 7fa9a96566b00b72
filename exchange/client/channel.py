"""Channels to an exchange: the right settings, and the API key with every call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

MESSAGE_BYTES_MAX: Final = 4 << 20
"""Longest message sent; the exchange takes none that is longer."""
RESPONSE_BYTES_MAX: Final = 8 << 20
"""Longest message received."""

OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", RESPONSE_BYTES_MAX),
    # A dead connection is noticed after 40 s at most; the exchange allows a ping each 10 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # gRPC's own pause between two dials would grow to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    # Despite its name, the time that one dial gets.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    # Each client repeats its calls itself, with the same bytes; see exchange.client.retry.
    ("grpc.enable_retries", 0),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """How to encrypt the connection.

    Attributes:
        root_certificates: PEM of the authorities to trust; None trusts the system's.
        private_key: PEM of the client's own key, where the other side asks for one.
        certificate_chain: PEM of the client's own certificates.
    """

    root_certificates: bytes | None = None
    private_key: bytes | None = field(default=None, repr=False)
    certificate_chain: bytes | None = None


def open_channel(
    target: str,
    key: str = "",
    *,
    tls: Tls | bool = False,
    options: Sequence[tuple[str, int | str]] = (),
) -> grpc.aio.Channel:
    """A channel whose every call carries the API key. It dials when it is first used.

    Call it inside the event loop that will use the channel. Close it with `await channel.close()`.

    Args:
        target: host:port of the exchange.
        key: API key, flx_...; empty for calls that need none. White space around it is dropped.
        tls: True to encrypt and to trust the system's authorities, or the details. Without it the
            key and the prompts travel in the clear: fit for loopback and for private networks.
        options: More gRPC channel options; they win over ours.

    Raises:
        ValueError: the key holds a character that cannot be sent.
    """
    key = clean_key(key)
    merged = tuple((dict(OPTIONS) | dict(options)).items())
    if tls:
        details = tls if isinstance(tls, Tls) else Tls()
        credentials = grpc.ssl_channel_credentials(
            details.root_certificates, details.private_key, details.certificate_chain
        )
        channel = grpc.aio.secure_channel(target, credentials, options=merged)
    else:
        channel = grpc.aio.insecure_channel(target, options=merged)
    return KeyedChannel(channel, key) if key else channel


def clean_key(key: str) -> str:
    """An API key as a header can carry it: without the line end that its file has.

    Raises:
        ValueError: it holds a character that no header can carry. It does not show the key.
    """
    found = key.strip() if key else ""
    for place, character in enumerate(found, 1):
        # gRPC itself would fail with each call, and say nothing of a key.
        if not " " <= character <= "~":
            raise ValueError(
                f"the API key cannot be sent: character {place} of {len(found)} is "
                f"U+{ord(character):04X}; a key is one line (flx_...)"
            )
    return found


class KeyedChannel(grpc.aio.Channel):
    """A channel that adds the API key's metadata to every call.

    gRPC's call credentials refuse to travel unencrypted, even over loopback, and its interceptors
    put a queue before each stream; this costs one tuple per call.

    Args:
        channel: The channel that does the work.
        key: API key.

    Raises:
        ValueError: the key holds a character that cannot be sent.
    """

    def __init__(self, channel: grpc.aio.Channel, key: str) -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {clean_key(key)}"),)

    async def __aenter__(self) -> KeyedChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close the channel; calls under way get `grace` seconds."""
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The connection's state now."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Return once the state is another one."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Return once the connection stands."""
        await self._channel.channel_ready()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._keyed(self._channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._keyed(self._channel.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._keyed(self._channel.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._keyed(self._channel.stream_stream(*args, **kwargs))

    def _keyed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        ours = self._metadata

        def call(*args: Any, metadata: Any = None, **kwargs: Any) -> Any:
            return method(*args, metadata=(*ours, *(metadata or ())), **kwargs)

        return call

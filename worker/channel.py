"""The connection to the exchange."""

from __future__ import annotations

from typing import Final

import grpc

MESSAGE_BYTES_MAX: Final = 4 << 20
KEEPALIVE_MS: Final = 30_000
KEEPALIVE_TIMEOUT_MS: Final = 10_000
REDIAL_MS: Final = 200


def open_session_channel(target: str) -> grpc.aio.Channel:
    """A channel of its own for each session, so that gRPC's redial pause does not add to ours."""
    return grpc.aio.insecure_channel(
        target,
        options=(
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
            ("grpc.initial_reconnect_backoff_ms", REDIAL_MS),
            ("grpc.min_reconnect_backoff_ms", REDIAL_MS),
            ("grpc.use_local_subchannel_pool", 1),
        ),
    )


def credentials(key: str) -> tuple[tuple[str, str], ...]:
    """The metadata that carries an API key."""
    return (("authorization", f"Bearer {key}"),)

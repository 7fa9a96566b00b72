"""Signatures of deliveries, by the Standard Webhooks specification (symmetric, v1)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what secrets begin with
SECRET_BYTES: Final = 32


def new_secret() -> str:
    """A fresh secret: `whsec_` and base64."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def headers(secret: str, event_id: str, now_s: int, body: bytes) -> dict[str, str]:
    """What a delivery is signed with.

    Args:
        secret: The webhook's.
        event_id: The same at each attempt: receivers drop what they have had.
        now_s: Seconds since the epoch, of this attempt.
        body: As it is sent.
    """
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = b".".join((event_id.encode(), str(now_s).encode(), body))
    signature = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": f"v1,{signature}",
    }

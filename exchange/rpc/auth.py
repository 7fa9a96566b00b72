"""API keys: `authorization: Bearer flx_...`, known to the exchange by their SHA-256 only."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final, NamedTuple

from exchange.core.commands import Role
from exchange.core.exchange import Exchange
from exchange.core.reasons import Reason
from exchange.rpc.calls import IncomingCall
from exchange.rpc.errors import Code, RpcError, refusal

SECRET_PATTERN: Final = re.compile(r"^flx_[A-Za-z0-9_-]{43}$")
KEY_ID_CHARS: Final = 16
"""First characters of the hash, hexadecimal, that name a key to people."""
_BEARER: Final = "Bearer "


class Caller(NamedTuple):
    """Who calls, and what the key allows."""

    account_id: int
    roles: Role
    key_hash: bytes

    def require(self, *roles: Role) -> None:
        """Go on only with at least one of these roles.

        Raises:
            RpcError: PERMISSION_DENIED with reason ROLE_MISSING.
        """
        if not any(self.roles & role for role in roles):
            names = " or ".join(str(role.name).lower() for role in roles)
            raise refusal(
                Reason.ROLE_MISSING, f"this call needs a key with the role {names}", {"role": names}
            )

    @property
    def sees_all(self) -> bool:
        """Whether the key may read every account."""
        return bool(self.roles & (Role.OPERATOR | Role.READER))


_CALLER: ContextVar[Caller] = ContextVar("caller")


def new_secret() -> str:
    """A fresh secret: flx_ and 43 characters that hold 32 random bytes."""
    return "flx_" + base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()


def hash_secret(secret: str) -> bytes:
    """What the exchange keeps of a secret: its SHA-256 (32 random bytes need no slow hash)."""
    return hashlib.sha256(secret.encode()).digest()


def key_id(key_hash: bytes) -> str:
    """How a key is named to people."""
    return key_hash.hex()[:KEY_ID_CHARS]


def key_unknown() -> RpcError:
    """The key is not, or no more, known here."""
    return RpcError(
        Code.UNAUTHENTICATED,
        "KEY_UNKNOWN",
        "no such API key: it was mistyped, revoked, or belongs to another exchange",
    )


def authenticate(core: Exchange, metadata: Mapping[str, str]) -> Caller:
    """Who sent this metadata.

    Raises:
        RpcError: UNAUTHENTICATED with reason KEY_MISSING or KEY_UNKNOWN.
    """
    secret = metadata.get("authorization", "").removeprefix(_BEARER)
    if SECRET_PATTERN.fullmatch(secret):
        digest = hash_secret(secret)
        key = core.keys.get(digest)
        if key is None:
            raise key_unknown()
        return Caller(key.account_id, Role(key.roles), digest)
    raise RpcError(
        Code.UNAUTHENTICATED,
        "KEY_MISSING",
        "send metadata 'authorization: Bearer flx_...' with an API key of 47 characters",
    )


def set_caller(caller: Caller) -> None:
    """Note who makes the call that this task serves (`LocalApi` does)."""
    _CALLER.set(caller)


def caller(call: IncomingCall | None = None) -> Caller:  # noqa: ARG001
    """Who makes the call that this task serves.

    `LocalApi` has checked the key; tasks started by the servicer inherit the answer.
    """
    return _CALLER.get()

"""The operator's first key: made once, written to one file, never lost between two steps."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from exchange.core.commands import AccountKind, AddKey, OpenAccount, Role
from exchange.engine import Engine
from exchange.rpc import auth

OPERATOR_NAME: Final = "operator"
"""The account that the first operator key belongs to."""
KEY_LABEL: Final = "bootstrap"


async def ensure_operator(engine: Engine, path: Path, given: str = "") -> str | None:
    """Make sure that somebody can operate the exchange; safe to repeat after a crash anywhere.

    Args:
        engine: Running.
        path: File for a new secret, readable by its owner only.
        given: A secret that shall be valid, such as one from the environment.

    Returns:
        The given or new secret; None where an operator key existed and none was given.

    Raises:
        ValueError: `given` is no API key.
    """
    core = engine.core
    if given and not auth.SECRET_PATTERN.fullmatch(given):
        raise ValueError("an API key is flx_ and 43 characters from A-Z a-z 0-9 _ -")
    if OPERATOR_NAME not in core.account_by_name:
        await engine.submit(OpenAccount(AccountKind.REAL, OPERATOR_NAME))
    account_id = core.account_by_name[OPERATOR_NAME]
    if not given:
        if any(key.roles & Role.OPERATOR for key in core.keys.values()):
            return None
        # The file comes first: a key that is journalled and shown nowhere would be lost.
        given = _read(path) or _write(path, auth.new_secret())
    key_hash = auth.hash_secret(given)
    if key_hash not in core.keys:
        roles = Role.OPERATOR | Role.READER
        await engine.submit(AddKey(account_id, int(roles), key_hash, KEY_LABEL))
    return given


def _read(path: Path) -> str | None:
    """A secret that an earlier start wrote and could not journal any more."""
    with contextlib.suppress(FileNotFoundError):
        secret = path.read_text().strip()
        if auth.SECRET_PATTERN.fullmatch(secret):
            return secret
    return None


def _write(path: Path, secret: str) -> str:
    unfinished = path.with_suffix(".unfinished")
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(fd)
    unfinished.replace(path)
    return secret

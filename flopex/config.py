"""Settings: one TOML file, then `FLOPEX_*` variables, then flags, each overriding the one before.

Every option of every command can be given in all three ways. In the file, options that several
commands share stand at the top and the others in a table named after their command; as a variable,
an option is called `FLOPEX_<COMMAND>_<OPTION>`:

    target = "exchange.example:7411"
    key_file = "~/.config/flopex/key"

    [serve]
    address = "0.0.0.0:7411"

    [worker.run]
    slots = 2
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

ADDRESS_DEFAULT: Final = "127.0.0.1:7411"
"""Where `serve` listens and where the other commands look for it."""
HTTP_DEFAULT: Final = "127.0.0.1:7412"
"""Where `serve` answers browsers and scrapers of metrics: this machine's only."""
HTTP_OFF: Final = "off"
"""In place of an address. An empty variable of the environment would count as none given."""
CONFIG_BYTES_MAX: Final = 1 << 20
KEY_BYTES_MAX: Final = 1_024
OPERATOR_KEY_NAME: Final = "operator.key"
"""The file in the data directory that holds the operator's key after the first start."""


class JournalWrites(StrEnum):
    """`exchange.journal.writers.WriteMode` for the command line, which loads no journal for it."""

    OVERLAPPED = "overlapped"
    DIRECT = "direct"
    DSYNC = "dsync"
    FDATASYNC = "fdatasync"


class ConfigError(Exception):
    """A settings or key file cannot be used; the message says what to do."""


def data_directory() -> Path:
    """Where `serve` keeps its data unless told otherwise: the user's data folder."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "flopex"


def config_candidates() -> list[Path]:
    """Where a settings file is looked for, in this order; the first one found is the only one."""
    base = os.environ.get("XDG_CONFIG_HOME")
    home = Path(base) if base else Path.home() / ".config"
    return [Path("flopex.toml"), home / "flopex" / "config.toml"]


def load_config(path: Path | None) -> tuple[Path | None, dict[str, Any]]:
    """The settings file's path and content; nothing where none was named and none exists.

    Raises:
        ConfigError: the named file does not exist, or a file cannot be read or is not TOML.
    """
    if path is None:
        path = next((p for p in config_candidates() if p.is_file()), None)
        if path is None:
            return None, {}
    try:
        with path.open("rb") as file:
            raw = file.read(CONFIG_BYTES_MAX + 1)
        if len(raw) > CONFIG_BYTES_MAX:
            raise ConfigError(f"{path} is larger than {CONFIG_BYTES_MAX} bytes")
        return path, tomllib.loads(raw.decode())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def unknown_settings(
    config: Mapping[str, Any], known: Mapping[str, Any], at: str = ""
) -> list[str]:
    """Dotted names in `config` that no option has: a misspelt setting must not be ignored."""
    found = []
    for name, value in config.items():
        below = known.get(name)
        if name not in known or isinstance(below, Mapping) != isinstance(value, Mapping):
            found.append(f"{at}{name}")
        elif isinstance(below, Mapping):
            found += unknown_settings(value, below, f"{at}{name}.")
    return found


def read_key_file(path: Path) -> str:
    """The API key that a file holds, on its first line.

    Raises:
        ConfigError: the file cannot be read or holds no key.
    """
    try:
        with path.open("rb") as file:
            key = file.read(KEY_BYTES_MAX).decode("ascii", "replace").strip()
    except OSError as error:
        raise ConfigError(f"cannot read the key file {path}: {error.strerror}") from error
    if not key.startswith("flx_") or len(key.split()) != 1:
        raise ConfigError(f"{path} holds no API key: one line 'flx_...' is expected")
    return key


def find_key(key_file: Path | None, data: Path) -> tuple[str | None, str]:
    """The API key to use, and where it was found, for people.

    In this order: the named file, FLOPEX_KEY, the data directory's operator key (on the machine
    of the exchange itself).

    Raises:
        ConfigError: the named file cannot be used.
    """
    if key_file is not None:
        return read_key_file(key_file.expanduser()), str(key_file)
    from_environment = os.environ.get("FLOPEX_KEY", "").strip()
    if from_environment:
        return from_environment, "FLOPEX_KEY"
    operator = data / OPERATOR_KEY_NAME
    if os.access(operator, os.R_OK):
        return read_key_file(operator), str(operator)
    return None, ""

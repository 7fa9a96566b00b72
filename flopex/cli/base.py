"""How every command is made: shared options, settings, errors into exit codes, Ctrl-C.

A command is an async function whose first parameter is its `Session`; `command` gives it the
options that all share and an example in its help.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, ParamSpec

import typer

from flopex.cli.exits import CommandError, ExitCode
from flopex.cli.output import Output
from flopex.config import (
    ADDRESS_DEFAULT,
    ConfigError,
    data_directory,
    find_key,
    load_config,
    unknown_settings,
)
from flopex.interrupts import run

if TYPE_CHECKING:
    from exchange.client import AsyncClient

P = ParamSpec("P")

SHARED_PANEL: Final = "Shared options"
SHARED_NAMES: Final = ("config", "target", "key_file", "data", "as_json")
ENVIRONMENT_PREFIX: Final = "FLOPEX"
CONNECT_ATTEMPTS: Final = 4
"""Tries of one call before the exchange counts as unreachable, 0.1 to 0.4 s apart."""


class Session:
    """What a command is given: where the answers go, and how to reach the exchange.

    Attributes:
        output: Prints answers, for people or as JSON.
        target: host:port of the exchange.
        data: The data directory of an exchange on this machine.
        data_named: The same where it was named; None where it is the default.
    """

    def __init__(
        self, output: Output, target: str, data: Path | None, key_file: Path | None
    ) -> None:
        self.output = output
        self.target = target
        self.data_named = data.expanduser() if data is not None else None
        self.data = self.data_named or data_directory()
        self._key_file = key_file

    @property
    def json(self) -> bool:
        """Whether programs read the answer."""
        return self.output.json

    def key(self) -> str:
        """The API key to use.

        Raises:
            CommandError: there is none.
        """
        key, _ = find_key(self._key_file, self.data)
        if key is None:
            raise CommandError(
                "no API key",
                "set FLOPEX_KEY=flx_..., or name a file with --key-file; on the exchange's own "
                f"machine --data lets its operator.key be found (looked in {self.data})",
                ExitCode.KEY,
                "KEY_MISSING",
            )
        return key

    def connect(self) -> AbstractAsyncContextManager[AsyncClient]:
        """A client of the exchange with this session's key; use it with `async with`.

        Raises:
            CommandError: there is no key.
        """
        from exchange.client import AsyncClient, RetryPolicy

        # A person waits: an exchange that is not there is said so within a second.
        retry = RetryPolicy(attempts=CONNECT_ATTEMPTS)
        return AsyncClient(_host_and_port(self.target), self.key(), retry=retry)


def _host_and_port(target: str) -> str:
    """The target, if it is one.

    Raises:
        CommandError: it is a URL, or has no port.
    """
    from exchange.http.addresses import split_address

    try:
        split_address(target)
    except ValueError:
        raise CommandError(
            f"{target!r} is no host:port of an exchange",
            f"write it like {ADDRESS_DEFAULT}: the address of gRPC, not that of the page",
            ExitCode.USAGE,
            "TARGET",
        ) from None
    return target


def _load_settings(ctx: typer.Context, path: Path | None) -> Path | None:
    """Fill in what the settings file says; flags and variables go before it."""
    if ctx.resilient_parsing:
        return path
    try:
        found, config = load_config(path)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error
    if config:
        unknown = unknown_settings(config, known_settings(ctx.find_root().command))
        if unknown:
            raise typer.BadParameter(
                f"{found} has settings that do not exist: {', '.join(unknown)}"
            )
        ctx.default_map = _settings_of(config, command_path(ctx))
    return found


def _settings_of(config: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    section: Any = config
    for name in names:
        section = section.get(name, {})
    shared = {name: config[name] for name in SHARED_NAMES if name in config}
    return {**shared, **{k: v for k, v in section.items() if not isinstance(v, Mapping)}}


def command_path(ctx: typer.Context) -> list[str]:
    """The names by which this command was called, without the program's own."""
    names: list[str] = []
    at: Any = ctx
    while at.parent is not None:
        names.insert(0, at.info_name)
        at = at.parent
    return names


def known_settings(group: Any, top: bool = True) -> dict[str, Any]:
    """The names that a settings file may hold, as nested tables."""
    known: dict[str, Any] = dict.fromkeys(("target", "key_file", "data")) if top else {}
    for name, child in getattr(group, "commands", {}).items():
        if hasattr(child, "commands"):
            known[name] = known_settings(child, top=False)
        else:
            known[name] = {p.name: None for p in child.params if p.name not in SHARED_NAMES}
    return known


def _option(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel=SHARED_PANEL, **settings)


_SHARED: Final[dict[str, tuple[Any, Any]]] = {
    "config": (
        Annotated[
            Path | None,
            _option(
                "--config",
                envvar="FLOPEX_CONFIG",
                is_eager=True,
                callback=_load_settings,
                help="Settings file (TOML); else ./flopex.toml or ~/.config/flopex/config.toml.",
            ),
        ],
        None,
    ),
    "target": (
        Annotated[
            str,
            _option("--target", envvar="FLOPEX_TARGET", help="host:port of the exchange."),
        ],
        ADDRESS_DEFAULT,
    ),
    "key_file": (
        Annotated[
            Path | None,
            _option(
                "--key-file",
                envvar="FLOPEX_KEY_FILE",
                help="File with the API key; else FLOPEX_KEY, else the data directory's own.",
            ),
        ],
        None,
    ),
    "data": (
        Annotated[
            Path | None,
            _option(
                "--data",
                envvar="FLOPEX_DATA",
                help="Data directory of an exchange on this machine.",
                show_default="~/.local/share/flopex",
            ),
        ],
        None,
    ),
    "as_json": (
        Annotated[
            bool,
            _option(
                "--json", allow_from_autoenv=False, help="Print JSON: one object, or one per line."
            ),
        ],
        False,
    ),
}


def command(
    app: typer.Typer, name: str, *, example: str, **settings: Any
) -> Callable[
    [Callable[Concatenate[Session, P], Awaitable[None]]],
    Callable[Concatenate[Session, P], Awaitable[None]],
]:
    """Make an async function a command of `app`, with the shared options and an example."""

    def register(
        function: Callable[Concatenate[Session, P], Awaitable[None]],
    ) -> Callable[Concatenate[Session, P], Awaitable[None]]:
        def called(**values: Any) -> None:
            shared = {key: values.pop(key) for key in SHARED_NAMES}
            _run(function, shared, values)

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        kind = inspect.Parameter.KEYWORD_ONLY
        for parameter in own:
            _quieten(parameter)
        parameters = [p.replace(kind=kind) for p in own] + [
            inspect.Parameter(key, kind, default=default, annotation=annotation)
            for key, (annotation, default) in _SHARED.items()
        ]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in parameters}
        called.__doc__ = _reflow(inspect.getdoc(function) or "")
        lines = "\n\n".join(f"  {line}" for line in example.splitlines())
        app.command(name, epilog=f"Example:\n\n{lines}", **settings)(called)
        return function

    return register


def _reflow(text: str) -> str:
    """One line for each paragraph: terminals have their own width."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _quieten(parameter: inspect.Parameter) -> None:
    """Leave the variable's name out of the help: all follow one rule, which the documents state."""
    for info in getattr(parameter.annotation, "__metadata__", ()):
        info.show_envvar = False


def _run(
    function: Callable[..., Awaitable[None]], shared: dict[str, Any], values: dict[str, Any]
) -> None:
    """Run a command to its end and turn what went wrong into an exit code."""
    output = Output(shared["as_json"])
    session = Session(output, shared["target"], shared["data"], shared["key_file"])
    try:
        run(_call(function, session, values))
    except CommandError as error:
        output.error(error)
        raise typer.Exit(error.code) from None
    except ConfigError as error:
        output.error(CommandError(str(error), code=ExitCode.USAGE, reason="CONFIG"))
        raise typer.Exit(ExitCode.USAGE) from None
    except (KeyboardInterrupt, asyncio.CancelledError):  # Ctrl-C; SIGTERM where it is caught
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of our output has gone: say nothing more.
        give_up_stdout()
        raise typer.Exit(ExitCode.FAILED) from None


def give_up_stdout() -> None:
    """Let stdout lead nowhere: what is still in its buffer fails no more at the process's end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _call(
    function: Callable[..., Awaitable[None]], session: Session, values: dict[str, Any]
) -> None:
    try:
        await function(session, **values)
    except CommandError:
        raise
    except Exception as error:
        # The client is imported where it failed, not before: an exchange's process has none.
        from flopex.cli.failures import explained

        known = explained(error, session.target)
        if known is None:
            raise
        raise known from error

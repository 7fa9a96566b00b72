"""The reference of all commands, as Markdown, from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from flopex.cli.base import SHARED_NAMES
from flopex.cli.exits import EXIT_TEXTS

_MARKUP = re.compile(r"\[/?[a-z ]*\]")


_HEAD = """# The flopex command

Written by `flopex reference`; a test holds it equal to what the command says.

## Shared options

Every command takes these. An option can also be set in the settings file, in a table named
after its command (`[worker.run]`), or as a variable `FLOPEX_<COMMAND>_<OPTION>`; a flag goes
before a variable, a variable before the file.

{shared}

The API key is taken from `--key-file`, else from `FLOPEX_KEY`, else from `operator.key` in the
data directory. There is no flag for the key itself: other users of a machine can read flags.

Money is dollars (`0.002`, `$0.002`) or nano-dollars (`54321 nanos`); prices are money per CU,
10^12 FLOPs (`$0.0003`, `300000 nanos/CU`). Compute is MFLOP, or has a unit (`18 GFLOP`, `0.5 CU`).
Durations are seconds, or have units (`500ms`, `1h 30m`).

## Exit codes

| code | meaning |
| --- | --- |
{exits}

Answers go to stdout, notes and errors to stderr. With `--json`, a query prints one object, a
stream one object per line and last `{{"type": "summary", ...}}`; an error is one object on stderr,
`{{"error": {{"reason", "message", "hint"}}}}`.

## Commands
"""


def reference(root: Any) -> str:
    """The whole page. `root` is the command tree that Typer builds."""
    shared = _options(p for p in _leaf(root).params if p.name in SHARED_NAMES)
    exits = [f"| {int(code)} | {text} |" for code, text in EXIT_TEXTS.items()]
    lines = [_HEAD.format(shared="\n".join(shared), exits="\n".join(exits)).rstrip()]
    for path, leaf in _leaves(root, "flopex"):
        lines += _command(path, leaf)
    return "\n".join(lines) + "\n"


def _leaf(group: Any) -> Any:
    return next(leaf for _, leaf in _leaves(group, ""))


def _leaves(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, child in group.commands.items():
        if child.hidden:
            continue
        if hasattr(child, "commands"):
            yield from _leaves(child, f"{path} {name}")
        else:
            yield f"{path} {name}", child


def _command(path: str, leaf: Any) -> list[str]:
    own = [p for p in leaf.params if p.name not in SHARED_NAMES and p.name != "help"]
    arguments = [p for p in own if p.param_type_name == "argument"]
    options = [p for p in own if p.param_type_name == "option"]
    usage = " ".join([path, *(_usage(a) for a in arguments), *(["[OPTIONS]"] if options else [])])
    lines = ["", f"### {path.strip()}", "", f"`{usage}`", "", _text(leaf.help or "")]
    for parameter in arguments:
        lines += ["", f"* `{_metavar(parameter)}`: {_text(parameter.help or '')}"]
    if options:
        lines += ["", *_options(options)]
    example = _text(leaf.epilog or "").removeprefix("Example:").strip()
    if example:
        lines += [
            "",
            "```",
            *(line.strip() for line in example.splitlines() if line.strip()),
            "```",
        ]
    return lines


def _usage(argument: Any) -> str:
    name = _metavar(argument)
    return name if argument.required else f"[{name}]"


def _metavar(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _options(options: Any) -> list[str]:
    lines = ["| option | |", "| --- | --- |"]
    for option in options:
        names = ", ".join(f"`{n}`" for n in (*option.opts, *option.secondary_opts))
        lines.append(f"| {names} | {_text(option.help or '')}{_default(option)} |")
    return lines


def _default(option: Any) -> str:
    shown = option.show_default if isinstance(option.show_default, str) else option.default
    if shown in (None, "", ()) or isinstance(shown, bool) or callable(shown):
        return ""
    return f" Default: `{getattr(shown, 'value', shown)}`."


def _text(text: str) -> str:
    return _MARKUP.sub("", text).strip()

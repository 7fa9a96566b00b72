"""The process of the gateway: `python -m flopex.gateway LEVEL json|text FD`, by `flopex serve`."""

from __future__ import annotations

import sys

from flopex.logs import LogLevel, configure_logs


def command(level: LogLevel, as_json: bool) -> tuple[str, ...]:
    """Starts it, with logs as its engine's; the number of a file descriptor is added."""
    form = "json" if as_json else "text"
    return (sys.executable, "-P", "-m", "flopex.gateway", level.value, form)


def main() -> None:
    """Run until the engine ends."""
    import structlog

    from exchange.server import gateway_main

    level, form, fd = sys.argv[1:]
    configure_logs(LogLevel(level), form == "json")
    structlog.contextvars.bind_contextvars(process="gateway")
    gateway_main.main(int(fd))


if __name__ == "__main__":
    main()

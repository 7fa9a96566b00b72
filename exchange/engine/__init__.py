"""The one writer: takes commands, stamps the time, applies, journals, publishes.

See `docs/internals/engine.md`.
"""

from exchange.engine.engine import Engine
from exchange.engine.opening import EngineConfig, Recovery
from exchange.engine.types import (
    GROUP_COMMANDS_MAX,
    PENDING_BYTES_MAX,
    PENDING_COMMANDS_MAX,
    Clock,
    EngineBusy,
    EngineError,
    EngineStopped,
    Group,
    Outcome,
    Outcomes,
    Subscriber,
    SystemClock,
)

__all__ = [
    "GROUP_COMMANDS_MAX",
    "PENDING_BYTES_MAX",
    "PENDING_COMMANDS_MAX",
    "Clock",
    "Engine",
    "EngineBusy",
    "EngineConfig",
    "EngineError",
    "EngineStopped",
    "Group",
    "Outcome",
    "Outcomes",
    "Recovery",
    "Subscriber",
    "SystemClock",
]

"""The exchange's heart: a pure, synchronous, deterministic state machine.

`Exchange.apply(commands) -> events`. It reads no clock, no random source, no socket and no file,
and holds no floats; time and ids come in with the commands. See `docs/internals/determinism.md`.
"""

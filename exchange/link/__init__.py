"""The socket between the engine's process and the gateway's: calls, many at a time, in frames.

See `docs/internals/link.md`.
"""

"""Commands that hold the engine against data which nobody here wrote.

Each is run from a checkout as `python -m tests.conformance.NAME`, reads files that are not part of
the repository, and says with `--help` where they come from. docs/reference/conformance.md lists
them.
"""

"""The `flopex` command, also as `python -m flopex`."""

from __future__ import annotations

import os

from flopex.leaving import leave_at_ctrl_c


def main() -> None:
    """Run the command line; the entry point of `flopex`."""
    # First: what the command line imports takes long enough for a Ctrl-C to fall into it.
    leave_at_ctrl_c()
    # gRPC writes lines of its own to stderr; what they say of our calls our errors say, too.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from flopex.cli import main as run

    run()


if __name__ == "__main__":
    main()

"""The `flopex` command, also as `python -m flopex`."""

from __future__ import annotations

from flopex.leaving import leave_at_ctrl_c


def main() -> None:
    """Run the command line; the entry point of `flopex`."""
    # First: what the command line imports takes long enough for a Ctrl-C to fall into it.
    leave_at_ctrl_c()
    from flopex.cli import main as run

    run()


if __name__ == "__main__":
    main()

"""The book against its naive twin for hours: `make soak SIZE=100000000`.

Each seed is a market of its own kind with 10,000 commands. Prints a line per seed, and ends with
exit status 1 and the seed at the first difference.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import matching
from tests.matching.test_book_differential import run_long

SEED_COMMANDS = 10_000
"""Orders that are too old to be named by a cancel pile up, and the naive twin looks through them at
every command: a seed of ten times as many commands takes a hundred times as long."""
FIRST_SEED = 1_000_000


def main() -> int:
    """Run until SIZE commands have been given to both books."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=100_000_000, help="commands in all")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    seeds = max(1, options.size // SEED_COMMANDS)
    first, count = options.first_seed, min(SEED_COMMANDS, options.size)
    start, fills, done = time.monotonic(), 0, 0
    with ProcessPoolExecutor(options.processes) as pool:
        results = pool.map(run_long, range(first, first + seeds), [count] * seeds)
        for seed in range(first, first + seeds):
            try:
                fills += next(results)
            except AssertionError as difference:
                sys.stdout.write(f"seed {seed}: {difference}\n")
                pool.shutdown(cancel_futures=True)
                return 1
            done += count
            sys.stdout.write(
                f"seed {seed}: {done:,} of {seeds * count:,} commands, {fills:,} fills, no "
                f"difference, {time.monotonic() - start:,.0f} s\n"
            )
            sys.stdout.flush()
    sys.stdout.write(f"compiled: {matching.COMPILED}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

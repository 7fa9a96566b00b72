"""Seeds of the simulation, one after the other: `make simulate SEEDS=100000 FIRST=1`, or

    python -m tests.simulation --seeds 100000 --first 1 --processes 2
    python -m tests.simulation --seeds 1 --first 65 --verbose       # replays seed 65

Prints its progress and each failure with the command that replays it; ends with exit status 1 where
there was one. `--twice` runs each seed a second time and compares.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from tests.simulation.run import Result, simulate

REPORT_S = 10.0
REPLAY = "make simulate SEEDS=1 FIRST="
CHUNK = 20
"""Seeds that a process takes at once."""


class Outcome(NamedTuple):
    """A seed's result, or what it found."""

    seed: int
    result: Result | None
    finding: str


def attempt(seed: int, twice: bool = False) -> Outcome:
    """Run one seed; a finding is an outcome, too."""
    try:
        result = simulate(seed)
        if twice:
            again = simulate(seed)
            assert again == result, f"another run of the same seed: {again}, not {result}"
    except (Exception, AssertionError):
        return Outcome(seed, None, traceback.format_exc())
    return Outcome(seed, result, "")


def settle_down() -> None:
    """What was imported is nobody's garbage: looking for garbage becomes quick."""
    gc.collect()
    gc.freeze()


def main() -> int:
    """Run seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=500, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--twice", action="store_true", help="run each again, and compare")
    parser.add_argument("--verbose", action="store_true", help="print every result")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    began = said = time.monotonic()
    total: Counter[str] = Counter()
    failed: list[int] = []
    for outcome in _outcomes(seeds, options.processes, options.twice):
        if outcome.result is None:
            failed.append(outcome.seed)
            _say(f"{outcome.finding}seed {outcome.seed} fails: {REPLAY}{outcome.seed}")
        else:
            _count(total, outcome.result)
            if options.verbose:
                _say(str(outcome.result))
        if time.monotonic() - said >= REPORT_S:
            said = time.monotonic()
            _say(f"up to seed {outcome.seed}, {len(failed)} failed, {said - began:,.0f} s")
    _say(
        f"seeds {seeds[0]} to {seeds[-1]}: {total['seeds']:,} passed, {len(failed)} failed "
        f"{failed[:20]}, {time.monotonic() - began:,.0f} s"
    )
    _say(", ".join(f"{count:,} {what}" for what, count in total.items() if what != "seeds"))
    return 1 if failed else 0


def _outcomes(seeds: range, processes: int, twice: bool) -> Iterator[Outcome]:
    if processes == 1:
        settle_down()
        yield from map(attempt, seeds, itertools.repeat(twice))
        return
    with ProcessPoolExecutor(processes, initializer=settle_down) as pool:
        yield from pool.map(attempt, seeds, itertools.repeat(twice), chunksize=CHUNK)


def _count(total: Counter[str], result: Result) -> None:
    total["seeds"] += 1
    total["commands"] += result.commands
    total["restarts"] += result.lives - 1
    total["virtual seconds"] += int(result.virtual_s)
    total.update({f"{what} told": n for what, n in result.told.items()})
    total.update({f"network: {what}": n for what, n in result.network.items()})


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

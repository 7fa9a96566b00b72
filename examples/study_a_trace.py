"""What a study finds, in Python: the rows as a Polars frame, the verdict as a dictionary.

    pip install 'flopex[sim]'
    python examples/study_a_trace.py AzureLLMInferenceTrace_conv.csv [REQUESTS_PER_WINDOW]

The trace is any of those that docs/guides/simulate.md names. Nothing is computed twice: run it
again with another load and only that is new.
"""

import sys
from pathlib import Path

import polars as pl

from sim import Scenario, run


def main() -> None:
    """The market's welfare by window at two loads, and who comes nearest to it."""
    trace = Path(sys.argv[1])
    requests = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    result = run(trace, Scenario(windows=10, window_requests=requests), loads=(0.8, 1.3))
    by_load = (
        result.frame.sort("load")
        .group_by("load", maintain_order=True)
        .agg(
            (pl.col("market").sum() / pl.col("bound").sum()).alias("market"),
            (pl.col("posted").sum() / pl.col("bound").sum()).alias("posted price in hindsight"),
            (pl.col("fifo_drop").sum() / pl.col("bound").sum()).alias("first in, first out"),
        )
    )
    print("Welfare over the clairvoyant bound:")
    print(by_load)
    worst = (
        result.frame.with_columns(ratio=pl.col("market") / pl.col("bound")).sort("ratio").head(3)
    )
    print("The market's hardest windows:")
    print(worst.select("load", "window", "ratio"))
    print("Met:", result.verdict["met"], "- report:", result.folder / "report.html")


if __name__ == "__main__":
    main()

"""The example of a study is run as users run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.sim.demands import trace
from tests.waiting import WITHIN_S

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_study_a_trace(tmp_path: Path) -> None:
    rows = [f"{r.arrival_ns / 10**9},{r.input_tokens},{r.output_tokens}" for r in trace(120)]
    path = tmp_path / "small.csv"
    path.write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *rows]) + "\n")
    command = [sys.executable, str(EXAMPLES / "study_a_trace.py"), str(path), "10"]
    done = subprocess.run(
        command, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=4 * WITHIN_S
    )
    assert done.stdout.startswith("Welfare over the clairvoyant bound:")
    assert done.stdout.index("0.8") < done.stdout.index("1.3")
    report = Path(done.stdout.split("report: ")[1].strip())
    assert (tmp_path / report).is_file()

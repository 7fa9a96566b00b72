"""The small correctness sweep alone, for compute-sanitizer; status 1 if anything is wrong."""

from __future__ import annotations

import sys

from flopex.bench.gating.run import Settings, TorchDevice, check_all, require_gpu
from worker.model.kernels import launch

if __name__ == "__main__":
    require_gpu()
    found = check_all(launch.kernels(), TorchDevice(), Settings(quick=True))
    for problem in found["problems"]:
        print(problem)
    sys.exit(bool(found["problems"]))

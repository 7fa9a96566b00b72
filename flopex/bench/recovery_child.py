"""One restart, in a process of its own: `python -m flopex.bench.recovery_child FOLDER BEGAN`."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path

from exchange.engine import Engine, EngineConfig, SystemClock
from exchange.recovery import collecting_paused
from exchange.server.server import GC_THRESHOLDS


def main(folder: Path, began: float) -> None:
    """Open the engine and say how long it took since the process was asked for."""
    gc.set_threshold(*GC_THRESHOLDS)  # as a server's process does
    imported = time.time()
    config = EngineConfig(folder / "journal", snapshots=folder / "snapshots")
    with collecting_paused():
        engine = Engine.open(config, SystemClock())
        gc.freeze()
    ready = time.time()
    core, recovered = engine.core, engine.recovered
    assert recovered.snapshot is not None, recovered.refused
    said = json.dumps(
        {
            "wall_s": round(ready - began, 3),
            "import_s": round(imported - began, 3),
            "open_s": round(ready - imported, 3),
            "cpu_s": round(time.process_time(), 3),
            "records": recovered.records,
            "live_orders": len(core.orders),
            "remembered_ids": len(core.order_ids) + len(core.client_ids),
            "sequence": core.sequence,
        }
    )
    print(said, flush=True)
    os._exit(0)  # taking a million objects apart is no part of a restart


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))

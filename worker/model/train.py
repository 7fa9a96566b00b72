"""Training: resumable, seeded, the same batches for every contestant.

A run lives in a folder: `NAME.state` (everything needed to go on), `NAME.safetensors` (the weights)
and `NAME.json` (recipe, digests, curve), NAME as in `worker.model.sizes.Run`. Pools of samples are
kept in `pools/` beside them, so that the contestants of one folder make them once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import torch
from safetensors.torch import save
from torch import nn

from exchange.metering.adaptive import AdaptiveShape
from worker.model.contestants import CONTESTANTS
from worker.model.muon import Muon
from worker.model.pool import CURRICULUM, Item, Part, batches, make_pool
from worker.model.sizes import DEFAULT_SIZE, SIZES, Run
from worker.model.tasks.splits import Exclusion

POOL_SAMPLES: Final = 16_384
POOLS: Final = 40
"""Different pools; after them those of full difficulty come again, in another order."""
WARM_UP_STEPS: Final = 100
FINAL_RATE: Final = 0.05
"""What is left of the learning rate at the end."""
HIDDEN: Final = frozenset({"taps", "query", "out", "up", "down", "qkv"})
"""Tensors that Muon updates, by the last part of their names; embeddings and gates are AdamW's."""
STILL_LEARNING: Final = 0.01
"""Rise in the share of right answers, from one tenth of the steps to the next, of a model that has
not converged."""
KEEP_EVERY_S: Final = 60.0
REPORT_EVERY: Final = 50


class TrainingError(Exception):
    """Training cannot begin or go on; the text is for people."""


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides the weights (with the versions of torch and of the tasks).

    steps: updates; seconds: CPU time after which training ends early, 0 for never.
    """

    contestant: str = "adaptive"
    size: str = DEFAULT_SIZE
    seed: int = 0
    steps: int = 3_200
    seconds: float = 0.0
    batch: int = 256
    rate: float = 3e-3
    hidden_rate: float = 0.02
    decay: float = 0.01

    @property
    def name(self) -> str:
        """What the run's files are called."""
        return Run(self.contestant, self.size, self.seed).name


def pool_number(round_: int) -> int:
    """Which pool is gone through in a round; the easy ones of the curriculum never come again."""
    easy = CURRICULUM[-1][0]
    return round_ if round_ < POOLS else easy + (round_ - POOLS) % (POOLS - easy)


class _Pool(NamedTuple):
    items: list[Item]
    left_out: int


class Training:
    """One training run.

    Args:
        recipe: What to do.
        folder: Where the run lives.
        exclusion: What is left out of the data.
    """

    def __init__(self, recipe: Recipe, folder: Path, exclusion: Exclusion) -> None:
        self.recipe = recipe
        self._folder = folder
        self._exclusion = exclusion
        self._contestant = CONTESTANTS[recipe.contestant]
        self._shape: AdaptiveShape = SIZES[recipe.size]
        self.name = recipe.name
        self._generator = torch.Generator().manual_seed(recipe.seed)
        torch.manual_seed(recipe.seed)
        self.model: nn.Module = self._contestant.build(self._shape)
        hidden: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in self.model.named_parameters():
            (hidden if name.rpartition(".")[2] in HIDDEN else others).append(parameter)
        self._optimizers: dict[str, torch.optim.Optimizer] = {
            "adamw": torch.optim.AdamW(others, recipe.rate, (0.9, 0.98), weight_decay=recipe.decay),
            "muon": Muon(hidden, recipe.hidden_rate, recipe.decay),
        }
        self.step = 0
        self._cpu_s = 0.0
        self.left_out: dict[int, int] = {}
        self.curve: list[dict[str, float]] = []

    def run(self, report: Callable[[dict[str, float]], None]) -> dict[str, Any]:
        """Train to the end, keeping a state now and then; the run's record."""
        self._resume()
        began, kept = time.process_time() - self._cpu_s, time.monotonic()
        total = right = 0.0
        self.model.train()
        for batch in self._batches():
            if self.step >= self.recipe.steps or self._out_of_time():
                break
            losses = self._update(batch)
            total, right = total + losses[0], right + losses[1]
            self.step += 1
            self._cpu_s = time.process_time() - began
            if self.step % REPORT_EVERY == 0:
                point = {
                    "step": self.step,
                    "cpu_s": round(self._cpu_s, 1),
                    "loss": round(total / REPORT_EVERY, 4),
                    "right": round(right / REPORT_EVERY, 4),
                }
                self.curve.append(point)
                report(point)
                total = right = 0.0
            if time.monotonic() - kept > KEEP_EVERY_S:
                self._keep()
                kept = time.monotonic()
        self._keep()
        return self._finish()

    def _out_of_time(self) -> bool:
        return 0 < self.recipe.seconds <= self._cpu_s

    def _update(self, batch: list[Part]) -> tuple[float, float]:
        self.model.zero_grad(set_to_none=True)
        total = right = 0.0
        for part in batch:
            losses = self._contestant.loss(self.model, part, self._generator)
            (losses.total / len(batch)).backward()  # type: ignore[no-untyped-call]
            total += float(losses.total.detach()) / len(batch)
            right += losses.right / len(batch)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        rates = {"adamw": self.recipe.rate, "muon": self.recipe.hidden_rate}
        for name, optimizer in self._optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = rates[name] * self._rate()
            optimizer.step()
        return total, right

    def _rate(self) -> float:
        """Warm-up, then half a cosine down to FINAL_RATE; by steps or by time, what is further."""
        done = self.step / self.recipe.steps
        if self.recipe.seconds:
            done = max(done, self._cpu_s / self.recipe.seconds)
        falling = (1 + math.cos(math.pi * min(done, 1.0))) / 2
        return min((self.step + 1) / WARM_UP_STEPS, FINAL_RATE + (1 - FINAL_RATE) * falling)

    def _batches(self) -> Iterator[list[Part]]:
        """Batches from the present step on, without end."""
        per_pool = POOL_SAMPLES // self.recipe.batch
        number, skipped = divmod(self.step, per_pool)
        while True:
            items = self._pool(pool_number(number))
            once = batches(items, number, self.recipe.batch, self._shape.steps_max)
            for i, batch in enumerate(once):
                if i >= skipped:
                    yield batch
            number, skipped = number + 1, 0

    def _pool(self, number: int) -> list[Item]:
        """A pool, from its file where there is one; all seeds and contestants share the pools."""
        forms = sorted(self._exclusion.forms)
        mark = hashlib.sha256("\n".join(forms).encode()).hexdigest()[:8]
        path = self._folder / "pools" / f"{number}-{POOL_SAMPLES}-{mark}.msgpack"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            before = self._exclusion.left_out
            items = make_pool(0, number, POOL_SAMPLES, self._exclusion)
            made = _Pool(items, self._exclusion.left_out - before)
            partial = path.with_suffix(f".{self.name}")
            partial.write_bytes(msgspec.msgpack.encode(made))
            partial.replace(path)
        pool = msgspec.msgpack.decode(path.read_bytes(), type=_Pool)
        self.left_out[number] = pool.left_out
        return pool.items

    def _keep(self) -> None:
        state = {
            "recipe": dataclasses.asdict(self.recipe),
            "model": self.model.state_dict(),
            "optimizers": {k: v.state_dict() for k, v in self._optimizers.items()},
            "generator": self._generator.get_state(),
            "step": self.step,
            "cpu_s": self._cpu_s,
            "left_out": self.left_out,
            "curve": self.curve,
        }
        path = self._folder / f"{self.name}.state"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path.with_suffix(".partial"))
        path.with_suffix(".partial").replace(path)

    def _resume(self) -> None:
        path = self._folder / f"{self.name}.state"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if state["recipe"] != dataclasses.asdict(self.recipe):
            raise TrainingError(f"{path} belongs to another recipe: {state['recipe']}")
        self.model.load_state_dict(state["model"])
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self._generator.set_state(state["generator"])
        self.step, self._cpu_s, self.curve = state["step"], state["cpu_s"], state["curve"]
        self.left_out = state["left_out"]

    def _command(self) -> str:
        recipe, command = self.recipe, ["flopex train"]
        plain = Recipe()
        for field in ("contestant", "size", "seed", "steps", "seconds"):
            if getattr(recipe, field) != getattr(plain, field):
                command += [f"--{field} {getattr(recipe, field)}"]
        command += ["--exclude FOLDER"] if self._exclusion.forms else []
        return " ".join([*command, "--out RUN"])

    def _converged(self) -> bool:
        """Whether all steps were made, and the last tenth of them brought less than a point."""
        points = [point["right"] for point in self.curve]
        tenth = max(len(points) // 10, 1)
        last, before = points[-tenth:], points[-2 * tenth : -tenth]
        if self.step < self.recipe.steps or not before:
            return False
        return sum(last) / len(last) - sum(before) / len(before) < STILL_LEARNING

    def _finish(self) -> dict[str, Any]:
        weights = save({k: v.contiguous() for k, v in self.model.state_dict().items()})
        record = {
            "recipe": dataclasses.asdict(self.recipe),
            "shape": msgspec.structs.asdict(self._shape),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "steps": self.step,
            "cpu_s": round(self._cpu_s, 1),
            "torch": torch.__version__.split("+")[0],
            "command": self._command(),
            "converged": self._converged(),
            "excluded": len(self._exclusion.forms),
            "left_out": sum(self.left_out.values()),
            "sha256": hashlib.sha256(weights).hexdigest(),
            "curve": self.curve,
        }
        (self._folder / f"{self.name}.safetensors").write_bytes(weights)
        path = self._folder / f"{self.name}.json"
        path.write_text(json.dumps(record, indent=1) + "\n")
        return record

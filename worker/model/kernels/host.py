"""The host's side of the kernels: shapes, grids, arguments; no CUDA yet.

Who really launches is a `Launcher`: CuPy (`worker.model.kernels.launch`), or in tests a CPU that
runs the same sources. Results are allocated as arrays of the caller's library unless he passes some
as `out`; with `out` and `scratch` given, a call allocates nothing, waits for nothing and reads
nothing back, so that a CUDA graph can hold it.

Bytes moved are given beside each kernel; at a memory rate of R bytes/s it cannot take less than
bytes / R, nor less than one launch: docs/reference/kernels.md.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import array_api_compat
import numpy as np

from worker.model.gate_reference import NARROW, TILE, kind_of
from worker.model.gate_types import Array, GateError
from worker.model.kernels.sources import KERNELS

LANES: Final = 32
ROWS_MAX: Final = 2**30 - 1
"""Rows, and entries, of one launch: counts of rows share a 32-bit word with two flags."""
PART_WORDS: Final = 5
"""32-bit words that one tile of a row leaves behind."""


class Launcher(Protocol):
    """Runs a kernel."""

    def launch(self, name: str, blocks: int, arguments: tuple[Any, ...]) -> None:
        """Start `blocks` blocks; an argument is an array, passed by address, or a NumPy scalar."""

    def counters(self, like: Array, words: int) -> Array:
        """At least this many int32 words on the device of `like`, all zero.

        Every kernel leaves them zero, hence they are kept and handed out again; but launches that
        share them must follow each other on one stream.
        """


class Kernels:
    """Each kernel as a function on arrays that have been checked (`worker.model.gating`)."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def route(
        self,
        logits: Array,
        top_ps: Array,
        experts_maxs: Array,
        width: int,
        *,
        out: tuple[Array, ...] | None = None,
    ) -> tuple[Array, ...]:
        """`gating.route`: a warp for a token.

        Args:
            logits: (T, E) fp32.
            top_ps: (T,) fp32.
            experts_maxs: (T,) int32.
            width: columns of the result.
            out: experts (T, width) int8, weights (T, width) fp32, counts (T,) int32, margins (T,)
                fp32.

        Moves T x (4 E + 16 + 5 width) bytes.
        """
        rows, experts = logits.shape
        out = out or (
            _empty(logits, (rows, width), "int8"),
            _empty(logits, (rows, width), "float32"),
            _empty(logits, (rows,), "int32"),
            _empty(logits, (rows,), "float32"),
        )
        numbers = _numbers(rows, experts, width)
        self._launch("route", _warps(rows), (logits, top_ps, experts_maxs, *numbers, *out))
        return out

    def sort_by_expert(
        self, experts: Array, n_experts: int, *, out: tuple[Array, ...] | None = None
    ) -> tuple[Array, ...]:
        """`gating.sort_by_expert`: a block for an expert.

        Args:
            experts: (T, width) int8.
            n_experts: how many there are.
            out: entries (T x width,) int32, offsets (n_experts + 1,) int32.

        Moves T x width x 5 bytes, and reads T x width bytes for each expert from the cache.
        """
        entries = experts.shape[0] * experts.shape[1]
        out = out or (
            _empty(experts, (entries,), "int32"),
            _empty(experts, (n_experts + 1,), "int32"),
        )
        arguments = (experts, *_numbers(entries, n_experts), *out)
        self._launch("sort_by_expert", n_experts + 1, arguments)
        return out

    def exit_confidence(
        self,
        logits: Array,
        *,
        out: tuple[Array, ...] | None = None,
        scratch: tuple[Array, Array] | None = None,
    ) -> tuple[Array, ...]:
        """`gating.exit_confidence`: a block for a tile of a row, or a warp for a short row.

        Args:
            logits: (B, V) fp32, or bf16 or its bits as uint16.
            out: tokens (B,) int32; probabilities, entropies, margins (B,) fp32.
            scratch: for rows of several tiles: counters, B int32 words that are zero and are left
                zero, and `part_words` int32 words for what the tiles leave.

        Moves B x (V x size of a logit + 16) bytes, and 40 more for each tile of such a row.
        """
        rows, classes = logits.shape
        out = out or (
            _empty(logits, (rows,), "int32"),
            *(_empty(logits, (rows,), "float32") for _ in range(3)),
        )
        kind = "fp32" if kind_of(logits) == "float32" else "bf16"
        if classes <= NARROW:
            arguments: tuple[Any, ...] = (logits, *_numbers(rows, classes), *out)
            self._launch(f"exit_confidence_narrow_{kind}", _warps(rows), arguments)
            return out
        tiles = -(-classes // TILE)
        if scratch is None:
            scratch = (
                self._launcher.counters(logits, rows),
                _empty(logits, (part_words(rows, classes),), "int32"),
            )
        arrivals, parts = scratch
        arguments = (logits, *_numbers(classes, tiles), *out, parts, arrivals)
        self._launch(f"exit_confidence_wide_{kind}", rows * tiles, arguments)
        return out

    def halt(
        self,
        now_logits: Array,
        ever_logits: Array,
        *limits: Array,
        out: tuple[Array, ...] | None = None,
        scratch: Array | None = None,
    ) -> tuple[Array, ...]:
        """`gating.halt`: a thread for a row.

        Args:
            now_logits: (B,) fp32.
            ever_logits: (B,) fp32.
            limits: the fields of `gating.Limits`.
            out: decisions (B,) int8; now_ppm, ever_ppm, live (B,) int32; n_live (1,) int32.
            scratch: `halt_counters` int32 words that are zero and are left zero.

        Moves B x (8 + 32 + 13) bytes.
        """
        (rows,) = now_logits.shape
        out = out or (
            _empty(now_logits, (rows,), "int8"),
            *(_empty(now_logits, (rows,), "int32") for _ in range(3)),
            _empty(now_logits, (1,), "int32"),
        )
        if scratch is None:
            scratch = self._launcher.counters(now_logits, halt_counters(rows))
        # With no rows there is still a count to write.
        blocks = max(1, -(-rows // KERNELS["halt"].threads))
        arguments = (now_logits, ever_logits, *limits, *_numbers(rows), *out, scratch)
        self._launch("halt", blocks, arguments)
        return out

    def select_within_budget(
        self,
        scores: Array,
        costs: Array,
        offsets: Array,
        budgets: Array,
        *,
        out: tuple[Array, ...] | None = None,
    ) -> tuple[Array, ...]:
        """`gating.select_within_budget`: a block for a request.

        Args:
            scores: (N,) fp32.
            costs: (N,) int64.
            offsets: (R + 1,) int32.
            budgets: (R,) int64.
            out: chosen (N,) bool, thresholds (R,) fp32, spent (R,) int64.

        Moves N x 13 + R x 24 bytes from memory; scores are read five times and costs twice or
        more often, from the cache where a request's items fit it.
        """
        out = out or (
            _empty(scores, scores.shape, "bool"),
            _empty(scores, budgets.shape, "float32"),
            _empty(scores, budgets.shape, "int64"),
        )
        arguments = (scores, costs, offsets, budgets, *out)
        self._launch("select_within_budget", budgets.shape[0], arguments)
        return out

    def _launch(self, name: str, blocks: int, arguments: tuple[Any, ...]) -> None:
        if blocks:
            self._launcher.launch(name, blocks, tuple(map(_contiguous, arguments)))


def part_words(rows: int, classes: int) -> int:
    """32-bit words that the tiles of such logits leave for the block that adds them."""
    tiles = -(-classes // TILE)
    return rows * tiles * PART_WORDS if tiles > 1 else 0


def halt_counters(rows: int) -> int:
    """Counters of `halt`: numbers taken, blocks gone, and one for each block."""
    return 2 + -(-rows // KERNELS["halt"].threads)


def _warps(rows: int) -> int:
    return -(-rows // (KERNELS["route"].threads // LANES))


def _numbers(*values: int) -> tuple[np.int32, ...]:
    if max(values) > ROWS_MAX:
        raise GateError(f"{max(values)} rows or entries: a launch takes {ROWS_MAX}")
    return tuple(np.int32(value) for value in values)


def _contiguous(argument: Any) -> Any:
    """An input may be any view: what is not laid out row by row is copied."""
    if isinstance(argument, np.generic):
        return argument
    if hasattr(argument, "contiguous"):
        return argument.contiguous()
    if argument.flags.c_contiguous:
        return argument
    return argument.copy(order="C")


def _empty(like: Array, shape: tuple[int, ...], kind: str) -> Array:
    xp = array_api_compat.array_namespace(like)
    return xp.empty(shape, dtype=getattr(xp, kind), device=array_api_compat.device(like))

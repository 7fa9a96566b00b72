"""The two forms in which the adaptive model runs, request by request: NumPy, and torch.

The NumPy form is the specification, the worker's engine on a CPU, and the verifier. The torch form
makes the same products one by one, so that torch's own counter can count them; a test holds both
equal. In both, what a row gets never depends on which other rows are in the batch: products that
rows share are made row by row inside one call, and attention is made for each request by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from exchange.metering.adaptive import AdaptiveShape
from worker.model.gating import route
from worker.model.reading import Ints, read_rows
from worker.model.weights import Floats, Weights

if TYPE_CHECKING:
    from torch import Tensor

NORM_EPSILON = np.float32(1e-6)


class Memory(NamedTuple):
    """What was read: keys and values (N, a); of the last token a state and the question (d,)."""

    keys: Any
    values: Any
    state: Any
    question: Any


class Stepped(NamedTuple):
    """What a step gave, one row for each request.

    states: (B, d).  experts: (B, active) int8, -1 unused.  margins: (B,) fp32, how clear the choice
    of experts was.  gates: (B, 2) fp32 logits of right now and of ever right.
    """

    states: Any
    experts: Ints
    margins: Floats
    gates: Floats


class Form(Protocol):
    """A way to run the model."""

    @property
    def shape(self) -> AdaptiveShape:
        """Its dimensions."""
        ...

    def read(self, tokens: tuple[int, ...], answers: int, begun: Memory | None = None) -> Memory:
        """Read a row: question, ASK, and `answers` tokens of the answer.

        Where `begun` holds what was read of the row's beginning, question and ASK at least, only
        the rest is looked up: nothing that comes later changes it.
        """
        ...

    def step(
        self, states: list[Any], memories: list[Memory], steps: list[int], p: float
    ) -> Stepped:
        """One step of each request; `steps` counts from 0, `p` is what experts must cover."""
        ...

    def write(self, states: list[Any]) -> Floats:
        """Logits of the answer tokens, (B, answers)."""
        ...


def rms_norm(x: Floats) -> Floats:
    """Root-mean-square norm over the last dimension."""
    scale: Floats = 1 / np.sqrt(np.square(x).mean(-1, keepdims=True) + NORM_EPSILON)
    normed: Floats = x * scale
    return normed


def row_products(x: Floats, matrix: Floats) -> Floats:
    """(B, d) times (d, e) as B products of one row, so that no row's bits depend on B."""
    products: Floats = np.matmul(x[:, None, :], matrix)[:, 0, :]
    return products


class NumpyForm:
    """The model in NumPy alone."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._head = np.ascontiguousarray(weights.tokens[: weights.shape.answers].T)

    @property
    def weights(self) -> Weights:
        """What it computes with."""
        return self._weights

    @property
    def shape(self) -> AdaptiveShape:
        """Its dimensions."""
        return self._weights.shape

    def read(self, tokens: tuple[int, ...], answers: int, begun: Memory | None = None) -> Memory:
        """Read a row by look-ups."""
        return self.read_with(np.concatenate, np.asarray, tokens, answers, begun)

    def read_with(
        self,
        joined: Callable[[list[Any]], Any],
        there: Callable[[Floats], Any],
        tokens: tuple[int, ...],
        answers: int,
        begun: Memory | None,
    ) -> Memory:
        """`read` for a form whose arrays lie elsewhere.

        Args:
            joined: puts two of its arrays one under the other.
            there: makes one of a NumPy array.
            tokens: see `Form.read`.
            answers: see there.
            begun: see there.
        """
        rows = read_rows(np.array([tokens], np.int64), np.array([answers]))
        first = 0 if begun is None else len(begun.keys)
        near, places = rows.near[0, first:], rows.places[0, first:]
        read = np.zeros((len(near), self._weights.tables.shape[2]), np.float32)
        found = np.empty_like(read)
        for j, table in enumerate(self._weights.tables):
            read += np.take(table, near[:, j], 0, found, "clip")
        for i, table in enumerate(self._weights.places):
            read += np.take(table, places[:, i], 0, found, "clip")
        a, d = self.shape.attention_width, self.shape.width
        parts = np.split(read, (a, 2 * a, 2 * a + d), 1)
        keys, values, states, questions = (there(np.ascontiguousarray(part)) for part in parts)
        if begun is not None:
            keys, values = joined([begun.keys, keys]), joined([begun.values, values])
        return Memory(keys, values, states[-1], questions[-1])

    def step(
        self, states: list[Any], memories: list[Memory], steps: list[int], p: float
    ) -> Stepped:
        """One step of each request."""
        w = self._weights
        x = np.stack(states)  # (B, d)
        hints = np.stack([memory.question for memory in memories]) + w.steps[steps]
        queries = row_products(rms_norm(x + hints), w.query)
        seen = np.stack([self._attend(q, m) for q, m in zip(queries, memories, strict=True)])
        x = x + row_products(seen, w.out)
        h = rms_norm(x + hints)
        routing = route(
            row_products(h, w.router), p, w.shape.experts_active, width=w.shape.experts_active
        )
        x = x + self._mix(h, routing.experts, routing.weights)
        inner = np.maximum(row_products(rms_norm(x + hints), w.gate_inner) + w.gate_inner_bias, 0)
        gates = row_products(inner, w.gate_outer) + w.gate_outer_bias
        return Stepped(x, routing.experts, routing.margins, gates)

    def _attend(self, query: Floats, memory: Memory) -> Floats:
        """Query (a,) -> (a,), each head by itself over the N tokens read."""
        heads = self.shape.heads
        q = query.reshape(heads, 1, -1)  # (H, 1, a/H)
        keys = memory.keys.reshape(len(memory.keys), heads, -1).transpose(1, 2, 0)
        values = memory.values.reshape(len(memory.values), heads, -1).transpose(1, 0, 2)
        scores = np.matmul(q, keys) * np.float32(q.shape[-1] ** -0.5)  # (H, 1, N)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights = weights / weights.sum(-1, keepdims=True)
        seen: Floats = np.matmul(weights, values).reshape(-1)
        return seen

    def _mix(self, h: Floats, experts: Ints, weights: Floats) -> Floats:
        """State h (B, d) -> the weighted sum of the chosen experts, best first."""
        mixed = np.zeros_like(h)
        for column in range(experts.shape[1]):
            for expert in np.unique(experts[:, column]):
                if expert < 0:
                    continue
                rows = np.flatnonzero(experts[:, column] == expert)
                inner = np.maximum(row_products(h[rows], self._weights.up[expert]), 0)
                out = row_products(inner, self._weights.down[expert])
                mixed[rows] += weights[rows, column, None] * out
        return mixed

    def write(self, states: list[Any]) -> Floats:
        """Logits of the answer tokens."""
        return row_products(rms_norm(np.stack(states)), self._head)


class TorchForm:
    """The same in torch, one request after another, every product explicit and of matrices."""

    def __init__(self, weights: Weights) -> None:
        import torch

        self._torch = torch
        self._shape = weights.shape
        self._steps = torch.from_numpy(weights.steps)
        self._reading = NumpyForm(weights)
        names = ("query", "out", "router", "up", "down")
        self._core = {name: torch.from_numpy(getattr(weights, name)) for name in names}
        gate = ("inner", "inner_bias", "outer", "outer_bias")
        self._gate = {name: torch.from_numpy(getattr(weights, f"gate_{name}")) for name in gate}
        self._head = torch.from_numpy(weights.tokens[: weights.shape.answers]).T

    @property
    def shape(self) -> AdaptiveShape:
        """Its dimensions."""
        return self._shape

    def read(self, tokens: tuple[int, ...], answers: int, begun: Memory | None = None) -> Memory:
        """Read a row by look-ups (which are no products: those of the NumPy form)."""
        torch = self._torch
        return self._reading.read_with(torch.cat, torch.from_numpy, tokens, answers, begun)

    def step(
        self, states: list[Any], memories: list[Memory], steps: list[int], p: float
    ) -> Stepped:
        """One step of each request."""
        done = [self._one(*row, p) for row in zip(states, memories, steps, strict=True)]
        after, experts, margins, gates = zip(*done, strict=True)
        return Stepped(
            self._torch.cat(after),
            np.concatenate(experts),
            np.concatenate(margins),
            self._torch.cat(gates).numpy(),
        )

    def _norm(self, x: Tensor) -> Tensor:
        return x * self._torch.rsqrt(x.square().mean(-1, keepdim=True) + float(NORM_EPSILON))

    def _one(self, state: Tensor, memory: Memory, step: int, p: float) -> tuple[Any, ...]:
        torch, core, heads = self._torch, self._core, self._shape.heads
        x = state.view(1, -1)
        hint = memory.question + self._steps[step]
        q = (self._norm(x + hint) @ core["query"]).view(heads, 1, -1)  # (H, 1, a/H)
        keys = memory.keys.view(len(memory.keys), heads, -1).permute(1, 2, 0)  # (H, a/H, N)
        values = memory.values.view(len(memory.values), heads, -1).permute(1, 0, 2)
        weights = torch.softmax(torch.bmm(q, keys) * q.shape[-1] ** -0.5, -1)
        x = x + torch.bmm(weights, values).view(1, -1) @ core["out"]
        h = self._norm(x + hint)
        active = self._shape.experts_active
        routing = route((h @ core["router"]).numpy(), p, active, width=active)
        for expert, weight in zip(routing.experts[0], routing.weights[0], strict=True):
            if expert >= 0:
                inner = torch.relu(h @ core["up"][int(expert)])
                x = x + float(weight) * (inner @ core["down"][int(expert)])
        gate = self._gate
        inner = torch.relu(self._norm(x + hint) @ gate["inner"] + gate["inner_bias"])
        return x, routing.experts, routing.margins, inner @ gate["outer"] + gate["outer_bias"]

    def write(self, states: list[Any]) -> Floats:
        """Logits of the answer tokens."""
        rows = [self._norm(state.view(1, -1)) @ self._head for state in states]
        logits: Floats = self._torch.cat(rows).numpy()
        return logits

"""The adaptive model in one file: text tokens in, one answer token out, as many steps as it takes.

    question tokens   "dave", "and", "eve", "swap", ".", ...        (B, N)
      read once       every token becomes a key and a value, by table look-up: the token, its
                      neighbours (TAPS) and its position from both ends. No product, no layer.
      think           ONE thinking token, whose state starts as that of the last token, goes
                      through ONE core layer again and again (steps_max times at most):
                          state += attention(state + question + step, keys, values)
                          state += mixture of experts(state + question + step)
                      `question` is read once from the last token, so that what was asked (who,
                      how many times) is not forgotten. After each step the gate says how likely
                      the state's answer is right *now*, and how likely it *ever* will be. When to
                      stop is decided outside.
      write           the state's nearest answer token. It is appended, and the next one begins.

Training asks for the answer after every step, and for what a solver would have worked out by then
(`worker.model.contestants`). This form computes all experts and all steps for a whole batch; the
NumPy form (`worker.model.forms`) computes only what is needed.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from exchange.metering.adaptive import AdaptiveShape
from worker.model.reading import OWN, PLACES, TAPS

NORM_EPSILON = 1e-6


NOISE = 0.3
"""Share of chance in matrices that begin near the identity: so a name that a query holds finds the
places where that name stands from the first step of training on, instead of after a thousand."""


def same(inside: int, outside: int) -> Tensor:
    """The identity from one width to another, its rows repeated where the other is larger."""
    return torch.eye(inside).repeat(1, -(-outside // inside))[:, :outside]


def norm(x: Tensor) -> Tensor:
    """Root-mean-square norm over the last dimension, without weights."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + NORM_EPSILON)


class Reader(nn.Module):
    """Makes a vector of each token, from itself, its neighbours and its place.

    It is linear in tables, so that the products below can be made once for the whole vocabulary:
    reading then takes look-ups alone.
    """

    def __init__(self, shape: AdaptiveShape, widths: tuple[int, ...], heads: int = 0) -> None:
        super().__init__()
        d = shape.width
        self.taps = nn.Parameter(torch.randn(TAPS, d, sum(widths)) * NOISE * 0.5 * d**-0.5)
        with torch.no_grad():
            parts = torch.split(self.taps, list(widths), -1)
            for part, j in itertools.product(parts, range(TAPS)):
                # Heads look at neighbours differently; the first state sums them up.
                amount = torch.randn(heads) / 2 if heads else torch.full((1,), 0.5)
                amount = amount if j != OWN or not heads else torch.ones(heads)
                part[j] += same(d, part.shape[-1]) * amount.repeat_interleave(
                    part.shape[-1] // len(amount)
                )
        self._starts = torch.tensor([0, *itertools.accumulate(rows for _, rows in PLACES[:-1])])

    def forward(self, vectors: Vectors, near: Tensor, places: Tensor) -> Tensor:
        """Near (B, N, taps) token ids and places (B, N, PLACES) -> (B, N, width)."""
        # Of the vocabulary's V tokens only the U that occur are mapped: most do not.
        seen = torch.zeros(len(vectors.tokens), dtype=torch.bool)
        seen[near.flatten()] = True
        near = (seen.cumsum(0) - 1)[near]
        found = vectors.tokens[seen]  # (U, d)
        starts = torch.arange(TAPS) * len(found)
        tables = [(found @ self.taps).flatten(0, 1)]  # (taps * U, width)
        tables += [vectors.places[name] @ self.taps[OWN] for name, _ in PLACES]
        rows = torch.cat([near + starts, places + starts[-1] + len(found) + self._starts], -1)
        summed: Tensor = functional.embedding_bag(rows.flatten(0, 1), torch.cat(tables), mode="sum")
        return summed.view(*rows.shape[:2], -1)


class Vectors(nn.Module):
    """A vector for each token and for each place."""

    def __init__(self, shape: AdaptiveShape) -> None:
        super().__init__()
        d = shape.width
        self.tokens = nn.Parameter(torch.randn(shape.vocabulary, d) * d**-0.5)
        self.places = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(rows, d) * 0.5 * d**-0.5) for name, rows in PLACES}
        )


class Core(nn.Module):
    """The one layer that is looped: attention to what was read, then a mixture of experts."""

    def __init__(self, shape: AdaptiveShape) -> None:
        super().__init__()
        d, a, e, f = shape.width, shape.attention_width, shape.experts, shape.ff_width
        self.heads, self.active = shape.heads, shape.experts_active
        self.steps = nn.Parameter(torch.randn(shape.steps_max, d) * d**-0.5)
        self.query = nn.Parameter(torch.randn(d, a) * NOISE * d**-0.5 + same(d, a))
        self.out = nn.Parameter((torch.randn(a, d) * NOISE * a**-0.5 + same(d, a).T) / 2)
        self.router = nn.Parameter(torch.randn(d, e) * d**-0.5)
        self.up = nn.Parameter(torch.randn(e, d, f) * d**-0.5)
        self.down = nn.Parameter(torch.randn(e, f, d) * 0.5 * f**-0.5)

    def attend(self, h: Tensor, keys: Tensor, values: Tensor, hidden: Tensor) -> Tensor:
        """State h (B, d); keys, values (B, H, N, a/H); hidden (B, N), -inf at pads -> (B, d)."""
        q = (h @ self.query).view(len(h), self.heads, 1, -1)  # (B, H, 1, a/H)
        scores = q @ keys.transpose(-1, -2) * q.shape[-1] ** -0.5  # (B, H, 1, N)
        weights = torch.softmax(scores + hidden[:, None, None, :], -1)
        return (weights @ values).flatten(1) @ self.out

    def mix(self, h: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
        """State h (B, d) -> the experts' weighted sum (B, d), the router's probabilities (B, E)."""
        probabilities = torch.softmax(h @ self.router, -1)
        ranked, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
        before = ranked.cumsum(-1) - ranked
        chosen = (before < top_p) & (torch.arange(ranked.shape[-1]) < self.active)
        mask = torch.zeros_like(probabilities).scatter(-1, order, chosen.to(h.dtype))
        weights = probabilities * mask
        weights = weights / weights.sum(-1, keepdim=True)
        inner = functional.relu(torch.einsum("bd,edf->ebf", h, self.up))
        each = inner @ self.down  # (E, B, d)
        return torch.einsum("be,ebd->bd", weights, each), probabilities

    def forward(
        self, state: Tensor, hint: Tensor, memory: tuple[Tensor, Tensor, Tensor], top_p: float
    ) -> tuple[Tensor, Tensor]:
        """One step: the new state (B, d) and the router's probabilities (B, E).

        The hint (B, d) is the question and the step's own vector.
        """
        state = state + self.attend(norm(state + hint), *memory)
        mixed, probabilities = self.mix(norm(state + hint), top_p)
        return state + mixed, probabilities


class Gate(nn.Module):
    """How likely the answer is right now, and ever: two logits from a state it cannot change."""

    def __init__(self, shape: AdaptiveShape) -> None:
        super().__init__()
        d, g = shape.width, shape.gate_width
        self.inner = nn.Parameter(torch.randn(d, g) * d**-0.5)
        self.inner_bias = nn.Parameter(torch.zeros(g))
        self.outer = nn.Parameter(torch.randn(g, 2) * g**-0.5)
        self.outer_bias = nn.Parameter(torch.zeros(2))

    def forward(self, h: Tensor) -> Tensor:
        """Normed state h (..., d) -> (..., 2)."""
        inner = functional.relu(h.detach() @ self.inner + self.inner_bias)
        return inner @ self.outer + self.outer_bias


class Thoughts(NamedTuple):
    """What was thought after each of S steps (or layers).

    answers: (S, B, A) logits of the answer.  gates: (S, B, 2) logits.  workings: (S, B, A) logits
    of what a solver would have worked out by then.  routes: (S, B, E) the router's probabilities.
    """

    answers: Tensor
    gates: Tensor
    workings: Tensor
    routes: Tensor | None = None


class Writer(nn.Module):
    """Reads the answer out of a state: the nearest answer token; and beside it the working."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.working = nn.Parameter(
            torch.eye(width) + torch.randn(width, width) * NOISE * width**-0.5
        )

    def forward(self, states: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """States (S, B, d), vectors of the answer tokens (A, d) -> two of (S, B, A)."""
        h = norm(states)
        return h @ vectors.T, h @ self.working @ vectors.T


class AdaptiveModel(nn.Module):
    """The whole model."""

    def __init__(self, shape: AdaptiveShape) -> None:
        super().__init__()
        self.shape = shape
        self.vectors = Vectors(shape)
        self.memory = Reader(shape, (shape.attention_width,) * 2, shape.heads)
        self.start = Reader(shape, (shape.width,) * 2)
        self.core = Core(shape)
        self.gate = Gate(shape)
        self.writer = Writer(shape.width)

    def read(self, near: Tensor, places: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Tokens to state and question (B, 2 d), and keys, values (B, H, N, a/H), hidden (B, N)."""
        start = self.start(self.vectors, near[:, -1:], places[:, -1:])[:, 0]
        keys, values = self.memory(self.vectors, near, places).chunk(2, -1)
        pad = near[..., OWN] == 0
        hidden = torch.zeros_like(pad, dtype=keys.dtype).masked_fill(pad, -torch.inf)
        per_head = (*keys.shape[:2], self.shape.heads, -1)
        keys, values = (x.reshape(per_head).transpose(1, 2).contiguous() for x in (keys, values))
        return start, (keys, values, hidden)

    def forward(self, near: Tensor, places: Tensor, steps: int, top_p: float = 0.6) -> Thoughts:
        """All of `steps` steps."""
        start, memory = self.read(near, places)
        state, question = start.chunk(2, -1)
        hints = question + self.core.steps[:steps, None]  # (S, B, d)
        states, routes = [], []
        for hint in hints:
            state, probabilities = self.core(state, hint, memory, top_p)
            states.append(state)
            routes.append(probabilities)
        thought = torch.stack(states)  # (S, B, d)
        answers, workings = self.writer(thought, self.vectors.tokens[: self.shape.answers])
        return Thoughts(answers, self.gate(norm(thought + hints)), workings, torch.stack(routes))

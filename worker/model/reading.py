"""How a row of tokens is read: the neighbours and the places of each token.

A row is a question, the token `ASK`, and the answer so far. Each token is described by the tokens
around it, by the nearest ones that could be an answer (names, numbers, letters of options: in "Ann
sends every letter on to Bob" they stand far apart), and by where it stands: counted in tokens, in
sentences and in clauses, from the beginning and from the end of the question. A question's tokens
never depend on the answer, so what was read once stays true while the answer grows.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.model.vocabulary import (
    ANSWER_SIZE,
    CLAUSE_ENDS,
    END,
    PAD,
    SENTENCE_ENDS,
    VOCABULARY_SIZE,
)

DISTANCES: Final = (-4, -3, -2, -1, 0, 1, 2, 3, 4)
"""Where the neighbours stand that a token is read with, itself among them."""
OWN: Final = DISTANCES.index(0)
NAMED: Final = (-2, -1, 1, 2)
"""And which of the tokens that could be an answer: -1 is the nearest one before, 2 the second
after."""
TAPS: Final = len(DISTANCES) + len(NAMED)
TOKEN_PLACES: Final = 256
SENTENCE_PLACES: Final = 32
CLAUSE_PLACES: Final = 64
OFFSET_PLACES: Final = 16
ANSWER_PLACES: Final = 16
"""Rows of the tables of places; what lies beyond shares the last row."""
PLACES: Final = (
    ("token", TOKEN_PLACES),
    ("token_from_end", TOKEN_PLACES),
    ("sentence", SENTENCE_PLACES),
    ("sentence_from_end", SENTENCE_PLACES),
    ("clause", CLAUSE_PLACES),
    ("clause_from_end", CLAUSE_PLACES),
    ("offset_in_clause", OFFSET_PLACES),
    ("answer", ANSWER_PLACES),
)

Ints = NDArray[np.int64]

_ENDS = np.zeros((2, VOCABULARY_SIZE), np.int64)
_ENDS[0, sorted(SENTENCE_ENDS)] = 1
_ENDS[1, sorted(CLAUSE_ENDS)] = 1


class Rows(NamedTuple):
    """A batch of rows of one width; shorter ones begin with `PAD`.

    near: (B, N, TAPS) token ids, by DISTANCES, then by NAMED.
    places: (B, N, len(PLACES)) rows of the tables.
    """

    near: Ints
    places: Ints


def read_rows(tokens: Ints, answers: Ints) -> Rows:
    """Describe the tokens of a batch.

    Args:
        tokens: (B, N) question, `ASK` and answer so far, with `PAD` in front of shorter rows.
        answers: (B,) tokens of the answer in each row.
    """
    width = tokens.shape[1]
    index = np.arange(width)
    end = (width - answers)[:, None]  # the question is tokens[start:end], ASK included
    start = (tokens == PAD).sum(1)[:, None]
    asked = (index >= start) & (index < end)
    near = np.concatenate([_near(tokens, end), _named(tokens, end)], -1)
    return Rows(near, _places(tokens, index, start, end, asked))


def _near(tokens: Ints, end: Ints) -> Ints:
    rows, width = tokens.shape
    reach = max(DISTANCES)
    framed = np.full((rows, width + 2 * reach), PAD, np.int64)  # nothing is beyond either end
    framed[:, reach : reach + width] = tokens
    index = np.arange(width)
    near = np.empty((rows, width, len(DISTANCES)), np.int64)
    for j, distance in enumerate(DISTANCES):
        moved = framed[:, reach + distance : reach + distance + width]
        # No token looks ahead into the answer.
        near[:, :, j] = moved if distance <= 0 else np.where(index + distance < end, moved, PAD)
    return near


def _named(tokens: Ints, end: Ints) -> Ints:
    """The nearest tokens that could be an answer, before and after; after it in the question."""
    rows, width = tokens.shape
    named = (tokens > END) & (tokens < ANSWER_SIZE)
    # Their places, in order, behind and before two that stand for nothing.
    found = np.zeros((rows, width + 4), np.int64)
    count = named.cumsum(1)
    row, place = np.nonzero(named)
    found[row, count[row, place] + 1] = tokens[row, place]
    before = count - named  # how many stand before a token
    asked = (named & (np.arange(width) < end)).sum(1, keepdims=True)
    near = []
    for rank in NAMED:
        at = before + 2 + rank if rank < 0 else count + 1 + rank
        token = np.take_along_axis(found, at, 1)
        near.append(np.where((rank < 0) | (at <= asked + 1), token, PAD))
    return np.stack(near, -1)


def _places(tokens: Ints, index: Ints, start: Ints, end: Ints, asked: Ints) -> Ints:
    places = np.zeros((*tokens.shape, len(PLACES)), np.int64)
    places[..., 0] = np.where(asked, np.clip(index - start, 0, TOKEN_PLACES - 1), 0)
    places[..., 1] = np.where(asked, np.clip(end - index, 0, TOKEN_PLACES - 1), 0)
    for part, (column, bound) in enumerate(((2, SENTENCE_PLACES), (4, CLAUSE_PLACES))):
        ends = _ENDS[part][tokens] * asked
        before = ends.cumsum(1) - ends
        total = ends.sum(1, keepdims=True)
        places[..., column] = np.where(asked, np.minimum(before, bound - 1), 0)
        places[..., column + 1] = np.where(asked, np.minimum(total - before, bound - 1), 0)
    first = np.where(_shifted(_ENDS[1][tokens] * asked) | (index == start), index, 0)
    begun = np.maximum.accumulate(first, 1)
    places[..., 6] = np.where(asked, np.minimum(index - begun, OFFSET_PLACES - 1), 0)
    places[..., 7] = np.where(index >= end, np.minimum(index - end + 1, ANSWER_PLACES - 1), 0)
    return places


def _shifted(ends: Ints) -> Ints:
    """One place to the right: where a clause begins."""
    return np.concatenate([np.zeros_like(ends[:, :1]), ends[:, :-1]], 1).astype(bool)

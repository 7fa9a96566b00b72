"""Workers that keep what they have read, so that the next prompt that begins alike costs less.

A prompt is a row of blocks. A worker that has computed a prompt holds its blocks; of a prompt that
begins with blocks that it holds, only the rest is computed and billed. When there are too many, the
blocks that were not used for the longest time go first, and of one prompt the last ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from sim.agents.conduct import Conduct
from sim.demand import Demand, Job


class PrefixCache:
    """Blocks of prompts, at most `capacity` of them."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: dict[int, None] = {}  # the least recently used first

    def __len__(self) -> int:
        return len(self._held)

    def prefix(self, blocks: Sequence[int]) -> int:
        """How many of the first blocks are held. O(blocks)."""
        missing = (place for place, block in enumerate(blocks) if block not in self._held)
        return next(missing, len(blocks))

    def use(self, blocks: Sequence[int]) -> None:
        """A prompt of these blocks was computed here. O(blocks)."""
        # The first blocks are the most recent ones: without them the others are worth nothing.
        for block in reversed(blocks):
            self._held.pop(block, None)
            self._held[block] = None
        while len(self._held) > self._capacity:
            del self._held[next(iter(self._held))]

    def check(self) -> None:
        """Raise AssertionError where more is held than may be."""
        assert len(self._held) <= self._capacity


class Prefixes(Conduct):
    """Each class is one worker with a cache; bids may see what is cached, or not.

    Args:
        demand: Its jobs say of which blocks their prompts are.
        workers: How many there are: as many as classes.
        capacity: Of each worker's cache, blocks.
        legs: Whether a job bids for each worker apart; or else one bid for all of them.
        managed: Whether such bids rise as time runs out; or else they are limits at full density.
        aware: Whether such a bid asks for no more than is not cached at the worker when it is made.
        shared: One cache for all workers, as large as theirs together.

    Attributes:
        computed_tokens: By job number, of prompt and answer; 0 where it never began.
        cut: Jobs that asked for less than was left to compute when they began, since the cache had
            lost some of it: their budget ends before their answer.
    """

    def __init__(
        self, demand: Demand, workers: int, capacity: int, *,
        legs: bool = False, managed: bool = False, aware: bool = False, shared: bool = False,
    ) -> None:  # fmt: skip
        one = PrefixCache(capacity * workers)
        self.caches = [one if shared else PrefixCache(capacity) for _ in range(workers)]
        self._legs, self._aware, self.limits = legs, aware, not managed
        self._asked: dict[int, Sequence[int]] = {}
        self._reading = 0
        self.computed_tokens = [0] * len(demand.jobs)
        self.cut: set[int] = set()

    def legs(self, told: Job) -> Sequence[int] | None:
        """The prompt's tokens at every worker, without those that a bid sees cached there."""
        if not self._legs:
            return None
        left = [told.input_tokens] * len(self.caches)
        if self._aware:
            left = [self._left(told, cache) for cache in self.caches]
        self._asked[told.number] = left
        return left

    def taken(self, told: Job, class_index: int, now_ns: int) -> None:
        """The prompt is read, as far as it is not cached and the budget goes."""
        del now_ns
        cache = self.caches[class_index]
        self._reading = self._left(told, cache)
        if self._legs and self._reading > self._asked[told.number][class_index]:
            self._reading = self._asked[told.number][class_index]
            self.cut.add(told.number)
        else:
            cache.use(told.blocks)
        self.computed_tokens[told.number] = self._reading + told.output_tokens

    def computed(self, told: Job, now_ns: int) -> tuple[int, int]:
        """What was left of the prompt, and the answer."""
        del now_ns
        return self._reading, told.output_tokens

    @staticmethod
    def _left(job: Job, cache: PrefixCache) -> int:
        """Tokens of the prompt that are not cached; the last one is always computed."""
        if not job.blocks:
            return job.input_tokens
        cached = job.input_tokens * cache.prefix(job.blocks) // len(job.blocks)
        return max(1, job.input_tokens - cached)

"""Workers that keep what they have read, so that the next prompt that begins alike costs less.

A prompt is a row of blocks. A worker that has computed a prompt holds its blocks; of a prompt that
begins with blocks that it holds, only the rest is computed and billed. When there are too many, the
blocks that were not used for the longest time go first, and of one prompt the last ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from sim.agents.conduct import Conduct
from sim.demand import Demand, Job


class PrefixCache:
    """Blocks of prompts, at most `capacity` of them."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: dict[int, int] = {}  # block -> its last use; the least recent first
        self._uses = 0

    def __len__(self) -> int:
        return len(self._held)

    def prefix(self, blocks: Sequence[int], spare: int = 0) -> int:
        """How many of the first blocks are held. O(blocks).

        Those alone that will still be held when `spare` more blocks have been used.
        """
        oldest = self._uses - self._capacity + spare
        for place, block in enumerate(blocks):
            used = self._held.get(block)
            if used is None or (spare and used <= oldest):
                return place
        return len(blocks)

    def use(self, blocks: Sequence[int]) -> None:
        """A prompt of these blocks was computed here. O(blocks)."""
        # The first blocks are the most recent ones: without them the others are worth nothing.
        for block in reversed(blocks):
            self._uses += 1
            self._held.pop(block, None)
            self._held[block] = self._uses
        while len(self._held) > self._capacity:
            del self._held[next(iter(self._held))]

    def check(self) -> None:
        """Raise AssertionError where too much is held, or in another order than it was used."""
        assert len(self._held) <= self._capacity
        uses = list(self._held.values())
        assert uses == sorted(uses)
        assert not uses or uses[-1] == self._uses


class Sight(StrEnum):
    """What a bid sees of the caches."""

    NOTHING = "nothing"
    """One bid asks every worker for the whole."""
    STICKY = "sticky"
    """Where one worker has cached at least half of the prompt, a bid for that worker alone."""
    LEGS = "legs"
    """A leg for each worker, for what is not cached there."""
    SHARED = "shared"
    """All workers share one cache, as large as theirs together; one bid for what it lacks."""


class Prefixes(Conduct):
    """Each class is one worker with a cache; bids may see what is cached, or not.

    A bid trusts in what will still be there when half of the cache has been used anew.

    Args:
        demand: Its jobs say of which blocks their prompts are.
        workers: How many there are: as many as classes.
        capacity: Of each worker's cache, blocks.
        sight: What bids see.

    Attributes:
        computed_tokens: By job number, of prompt and answer; 0 where it never began.
        cut: Jobs that asked for less than was left to compute when they began, since the cache had
            lost some of it: their budget ends before their answer.
    """

    def __init__(self, demand: Demand, workers: int, capacity: int, sight: Sight) -> None:
        shared = sight == Sight.SHARED
        one = PrefixCache(capacity * workers)
        self.caches = [one if shared else PrefixCache(capacity) for _ in range(workers)]
        self._spare = capacity // 2 * (workers if shared else 1)
        self._demand, self._sight = demand, sight
        self._asked: dict[int, Sequence[int]] = {}  # input tokens, by job and worker
        self._reading = 0
        self.computed_tokens = [0] * len(demand.jobs)
        self.cut: set[int] = set()

    def told(self, job: Job, now_ns: int) -> Job:
        """The job; of one cache for all, without what is cached."""
        del now_ns
        if self._sight != Sight.SHARED:
            return job
        left = self._left(job, self.caches[0], self._spare)
        self._asked[job.number] = [left] * len(self.caches)
        return job._replace(input_tokens=left)

    def legs(self, told: Job) -> Sequence[int] | None:
        """The prompt's tokens at every worker, without those that a bid sees cached there."""
        if self._sight not in (Sight.STICKY, Sight.LEGS):
            return None
        left = [self._left(told, cache, self._spare) for cache in self.caches]
        if self._sight == Sight.STICKY:
            least = min(left)
            if least > told.input_tokens // 2:
                return None
            best = left.index(least)
            left = [least if place == best else 0 for place in range(len(left))]
        self._asked[told.number] = left
        return left

    def taken(self, told: Job, class_index: int, now_ns: int) -> None:
        """The prompt is read, as far as it is not cached and the budget goes."""
        del now_ns
        job, cache = self._demand.jobs[told.number], self.caches[class_index]
        self._reading = self._left(job, cache)
        asked = self._asked.get(job.number)
        if asked is not None and self._reading > asked[class_index]:
            self._reading = asked[class_index]
            self.cut.add(job.number)
        else:
            cache.use(job.blocks)
        self.computed_tokens[job.number] = self._reading + job.output_tokens

    def computed(self, told: Job, now_ns: int, fits: int) -> tuple[int, int]:
        """What was left of the prompt, and the answer."""
        del now_ns, fits
        return self._reading, told.output_tokens

    @staticmethod
    def _left(job: Job, cache: PrefixCache, spare: int = 0) -> int:
        """Tokens of the prompt that are not cached; the last one is always computed."""
        if not job.blocks:
            return job.input_tokens
        cached = job.input_tokens * cache.prefix(job.blocks, spare) // len(job.blocks)
        return max(1, job.input_tokens - cached)

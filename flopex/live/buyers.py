"""The buyers of a live run: each job is submitted at its time, and its end is asked for."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final, NamedTuple

from exchange.client import AsyncClient, FlopexError, JobState, Refused, StopCause
from exchange.client import Job as LiveJob
from exchange.core.limits import NS_PER_S
from flopex.live.fleet import LiveRunFailed, buyer_name, instrument_name
from sim.demand import Demand, Job
from sim.outcome import Outcome
from sim.scenario import Scenario

ANSWERED: Final = (StopCause.FINISHED, StopCause.LENGTH, StopCause.BUDGET)
"""How an engine stops that has given what was asked for."""
ENDED_WITHIN_S: Final = 30.0
"""How long after the last deadline every job must have ended."""
POLL_S: Final = 0.5
SUBMIT_TIMEOUT_S: Final = 30.0
PROGRESS_JOBS: Final = 1_000
"""Jobs between two reports of progress."""

Report = Callable[[str, int, int], None]
"""Told what is being done, and how many of how many."""


class Submitted(NamedTuple):
    """How the submissions went.

    Attributes:
        job_ids: By job number; 0 where the exchange refused it.
        refused: Reasons of refusals, by how many.
        unanswered: Calls that failed without an answer.
        late_ns: How long after its time each job was submitted.
    """

    job_ids: list[int]
    refused: dict[str, int]
    unanswered: int
    late_ns: list[int]


class Buyers:
    """One connection for each account of the demand."""

    def __init__(self, scenario: Scenario, pace: Demand, target: str, keys: dict[str, str]) -> None:
        self._scenario, self._pace = scenario, pace
        self._target, self._keys = target, keys
        self._stack = AsyncExitStack()
        self._clients: list[AsyncClient] = []

    async def __aenter__(self) -> Buyers:
        for number in range(self._scenario.accounts):
            client = AsyncClient(self._target, self._keys[buyer_name(number)])
            self._clients.append(await self._stack.enter_async_context(client))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def submit_all(self, report: Report) -> Submitted:
        """Submit every job at its time."""
        jobs = self._pace.jobs
        submitted = Submitted([0] * len(jobs), {}, 0, [0] * len(jobs))
        unanswered: list[int] = []
        began_ns = time.monotonic_ns()
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                wait_ns = began_ns + job.arrival_ns - time.monotonic_ns()
                if wait_ns > 0:
                    await asyncio.sleep(wait_ns / NS_PER_S)
                submitted.late_ns[job.number] = max(0, -wait_ns)
                group.create_task(self._submit(job, submitted, unanswered))
                if job.number % PROGRESS_JOBS == 0:
                    report("live", job.number, len(jobs))
        return submitted._replace(unanswered=len(unanswered))

    async def _submit(self, job: Job, submitted: Submitted, unanswered: list[int]) -> None:
        client = self._clients[job.account]
        try:
            live = await client.jobs.submit(
                "x" * job.input_tokens,
                model="instant",
                tier="live",
                value=job.value_nanos,
                deadline=max(job.deadline_ns - job.arrival_ns, 1),
                output_tokens_max=job.output_tokens,
                timeout_s=SUBMIT_TIMEOUT_S,
            )
            submitted.job_ids[job.number] = live.job_id
        except Refused as error:
            submitted.refused[error.reason] = submitted.refused.get(error.reason, 0) + 1
        except FlopexError:
            unanswered.append(job.number)

    async def outcome(self, submitted: Submitted) -> tuple[Outcome, dict[str, int], int]:
        """What became of every job, once all have ended; how many ended how, and how many are lost.

        Lost is a job that the exchange took and does not know.

        Raises:
            LiveRunFailed: a job does not end.
        """
        ended = await self._ended()
        outcome = Outcome.empty("live", len(self._pace.jobs))
        classes = {
            instrument_name(kind.name): index for index, kind in enumerate(self._scenario.classes)
        }
        ends: dict[str, int] = {}
        lost = 0
        for job in self._pace.jobs:
            job_id = submitted.job_ids[job.number]
            if not job_id:
                continue
            live = ended.get(job_id)
            if live is None:
                lost += 1
                continue
            how = _ending(live)
            ends[how] = ends.get(how, 0) + 1
            if live.state == JobState.SETTLED and live.stop_cause in ANSWERED:
                done_ns = job.arrival_ns + live.end_time_ns - live.create_time_ns
                outcome.serve(job.number, classes[live.instrument], done_ns, live.paid_nanos)
        return outcome, ends, lost

    async def _ended(self) -> dict[int, LiveJob]:
        """All jobs of the buyers by id, once none is open."""
        for _ in range(math.ceil((ENDED_WITHIN_S + self._patience_s()) / POLL_S)):
            if not await self._any_open():
                break
            await asyncio.sleep(POLL_S)
        else:
            raise LiveRunFailed("a job does not end")
        return {job.job_id: job for client in self._clients async for job in client.jobs.list()}

    async def _any_open(self) -> bool:
        for client in self._clients:
            async for _ in client.jobs.list(open_only=True, limit=1):
                return True
        return False

    def _patience_s(self) -> float:
        """The longest time from a job's arrival to its deadline."""
        return max(job.deadline_ns - job.arrival_ns for job in self._pace.jobs) / NS_PER_S


def _ending(job: LiveJob) -> str:
    """In a word, how a job ended."""
    stopped = job.state == JobState.SETTLED and job.stop_cause not in ANSWERED
    return "stopped" if stopped else job.state.name.lower()

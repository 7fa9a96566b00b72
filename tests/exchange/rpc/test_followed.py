"""Jobs that end with their readers, as where the gateway dies that they are read through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchange.rpc import followed
from exchange.rpc.followed import FollowedJobs
from tests.exchange.rpc.rig import Rig, open_rig


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(followed, "ABANDONED_S", 0.05)
    async with open_rig(tmp_path) as found:
        yield found


async def test_a_job_ends_a_while_after_its_last_reader(rig: Rig) -> None:
    job, jobs = await rig.submit(), FollowedJobs(rig.services)
    with jobs.follow(job.job_id):
        with jobs.follow(job.job_id):
            jobs.check()
        await asyncio.sleep(0.1)
        assert len(jobs) == 1
    # The retry of who was cut off.
    with jobs.follow(job.job_id):
        jobs.check()
        await asyncio.sleep(0.1)
        assert rig.state(job) == "QUEUED"
    assert len(jobs) == 1
    await rig.until(lambda: rig.state(job) == "CANCELLED")
    jobs.check()
    assert len(jobs) == 0


async def test_who_was_never_followed_and_who_is_over_are_left_alone(rig: Rig) -> None:
    alone, job, jobs = await rig.submit(), await rig.submit(), FollowedJobs(rig.services)
    with jobs.follow(job.job_id):
        rig.services.drain.begin()
    assert len(jobs) == 0
    assert (rig.state(alone), rig.state(job)) == ("QUEUED", "QUEUED")
    with jobs.follow(99):
        pass
    assert len(jobs) == 0


async def test_a_job_whose_reader_never_comes_ends(rig: Rig) -> None:
    job, read, other = [await rig.submit() for _ in range(3)]
    jobs = FollowedJobs(rig.services)
    for submitted in (job, read):
        jobs.expect(submitted.job_id, again=False)
    jobs.expect(job.job_id, again=True)
    jobs.expect(other.job_id, again=True)  # its submitter does not mean to follow it
    with jobs.follow(read.job_id):
        jobs.expect(read.job_id, again=True)  # the retry of who reads it
        jobs.check()
        await rig.until(lambda: rig.state(job) == "CANCELLED")
        assert (rig.state(read), rig.state(other), len(jobs)) == ("QUEUED", "QUEUED", 1)

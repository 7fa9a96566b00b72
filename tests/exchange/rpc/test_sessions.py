"""Worker sessions over real gRPC: registering, leases, losing touch and coming back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange.core.commands import Command, StartLease, decode
from exchange.engine import EngineBusy, Outcome
from exchange.rpc import sessions, workers
from exchange.rpc.sessions import SessionConfig
from exchange.testing.fake_worker import SessionEnded
from exchange.v1 import job_service_pb2 as jobs_pb
from exchange.v1 import worker_service_pb2 as pb
from exchange.v1.reason_pb2 import Reason
from tests.exchange.rpc.rig import INSTRUMENT, MS, QUICK, Rig, error_info, open_rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path) as found:
        yield found


async def test_a_job_runs_from_offer_to_payment(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        job = await rig.submit("say something nice")
        offer = await worker.offer()
        assert jobs_pb.JobInput.FromString(offer.payload).prompt == "say something nice"
        assert (offer.instrument, offer.model, offer.attempt) == (INSTRUMENT, "instant", 1)
        assert 0 < offer.accept_within_ns <= 2_000 * MS
        assert offer.stop_within_ns > 0
        result = await worker.run(offer, "You ", "are ", "kind.")
        assert result.accepted
        ended = await rig.ended(job)
        assert ended.state == jobs_pb.JOB_STATE_SETTLED
        assert (ended.flops, ended.output_tokens) == (5_000_000, 3)  # 3 + 3 tokens, one step fewer
        assert ended.paid_nanos == result.paid_nanos == rig.balance("seller") > 0
        assert (ended.worker, ended.instrument) == ("fake", INSTRUMENT)
        assert (await rig.get(job, include_output=True)).output == "You are kind."


async def test_output_is_taken_while_the_start_waits_for_its_commit(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The acceptance before it has its answer by then."""
    engine: Any = rig.exchange.engine
    take, holds = engine._take, iter(range(10))

    def one_at_a_time() -> list[Any]:
        pending = engine._pending
        if not pending:
            return take()  # type: ignore[no-any-return]
        (first, *_) = decode(pending[0].payload)
        if isinstance(first, StartLease) and next(holds, None) is not None:
            return []
        later = [pending.pop() for _ in range(len(pending) - 1)]
        taken: list[Any] = take()
        pending.extend(reversed(later))
        return taken

    async with rig.worker() as worker:
        await rig.ready(worker)
        await rig.submit()
        offer = await worker.offer()
        monkeypatch.setattr(engine, "_take", one_at_a_time)
        assert (await worker.run(offer, "a ", "b")).accepted


async def test_a_lease_that_has_ended_puts_nothing_out_again(rig: Rig) -> None:
    """A worker that missed the answer to its receipt says all of it once more."""
    async with rig.worker() as worker:
        await rig.ready(worker)
        job = await rig.submit()
        offer = await worker.offer()
        assert (await worker.run(offer, "one ", "two")).accepted
        await worker.start(offer)
        await worker.chunk(offer, 0, "one ")
        refusals = [(await worker.refusal()).reason for _ in range(2)]
        assert refusals == [Reason.REASON_LEASE_CLOSED] * 2
        assert (await rig.get(job)).job.output_tokens == 2
        assert rig.services.outputs.find(job.job_id) is None


async def test_the_first_message_must_register(rig: Rig) -> None:
    async with rig.worker() as worker:
        await worker.open()
        await worker.send(heartbeat=jobs_pb.Heartbeat())
        with pytest.raises(SessionEnded) as ended:
            await worker.receive()
        assert ended.value.error is not None
        assert ended.value.error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_first_message_must_come_soon(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "REGISTER_WITHIN_S", 0.05)
    async with rig.worker() as worker:
        await worker.open()
        with pytest.raises(SessionEnded):
            await worker.receive()


async def test_registering_twice_in_a_session_ends_it(rig: Rig) -> None:
    async with rig.worker() as worker:
        await worker.register()
        await worker.send(register=pb.Register(name="fake"))
        with pytest.raises(SessionEnded) as ended:
            await worker.receive("registered")
        assert ended.value.error is not None
        assert error_info(ended.value.error).metadata["field"] == "message"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": ""}, "FIELD_INVALID"),
        ({"name": "a b"}, "FIELD_INVALID"),
        ({"name": "x" * 65}, "FIELD_INVALID"),
        ({"public_key": b"short"}, "FIELD_INVALID"),
        ({"signature": bytes(64)}, "FIELD_INVALID"),
        ({"slots": []}, "FIELD_INVALID"),
        ({"slots": [0]}, "FIELD_INVALID"),
        ({"slots": [1_025]}, "FIELD_INVALID"),
        ({"slots": [1] * 65}, "FIELD_INVALID"),
        ({"facts": {"long": "x" * 20_000}}, "FIELD_INVALID"),
    ],
)
async def test_a_bad_registration_is_refused(
    rig: Rig, changes: dict[str, Any], reason: str
) -> None:
    async with rig.worker() as worker:
        with pytest.raises(SessionEnded) as ended:
            await worker.register(**changes)
        assert ended.value.error is not None
        assert error_info(ended.value.error).reason == reason
    assert not rig.core.workers


async def test_the_key_is_pinned(rig: Rig) -> None:
    async with rig.worker() as worker:
        await worker.register()
    async with rig.worker() as other:
        with pytest.raises(SessionEnded) as ended:
            await other.register()
        assert ended.value.error is not None
        assert ended.value.error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert error_info(ended.value.error).reason == "KEY_MISMATCH"


async def test_a_traders_key_opens_no_session(rig: Rig) -> None:
    rig.seller = rig.buyer
    async with rig.worker() as worker:
        with pytest.raises(SessionEnded) as ended:
            await worker.register()
        assert ended.value.error is not None
        assert error_info(ended.value.error).reason == "ROLE_MISSING"


@pytest.mark.parametrize(
    ("quote", "reason"),
    [
        (pb.Quote(instrument="no/such/one", prices_nanos=[1]), "UNKNOWN_INSTRUMENT"),
        (pb.Quote(instrument=INSTRUMENT, pool=1, prices_nanos=[1]), "UNKNOWN_POOL"),
        (pb.Quote(instrument=INSTRUMENT, pool=70_000, prices_nanos=[1]), "UNKNOWN_POOL"),
        (pb.Quote(instrument=INSTRUMENT, prices_nanos=[5, 4]), "PRICES_INVALID"),
        (pb.Quote(instrument=INSTRUMENT, prices_nanos=[1] * 2_000), "PRICES_INVALID"),
        (pb.Quote(instrument=INSTRUMENT, prices_nanos=[0]), "PRICE_OUT_OF_BAND"),
        (pb.Quote(instrument=INSTRUMENT, prices_nanos=[1], ttl_ns=-1), "FIELD_INVALID"),
        (pb.Quote(instrument=INSTRUMENT), "UNKNOWN_QUOTE"),
    ],
)
async def test_a_refused_quote_says_why(rig: Rig, quote: pb.Quote, reason: str) -> None:
    async with rig.worker(slots=(2,)) as worker:
        await worker.register()
        await worker.send(quote=quote)
        refusal = await worker.refusal()
        assert Reason.Name(refusal.reason) == f"REASON_{reason}"
        assert (refusal.instrument, refusal.pool) == (quote.instrument, quote.pool)


async def test_an_empty_quote_withdraws(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        await rig.until(lambda: rig.core.workers[1].quotes)
        await worker.quote(INSTRUMENT)
        await rig.until(lambda: not rig.core.workers[1].quotes)


async def test_a_declined_lease_goes_to_another(rig: Rig) -> None:
    async with rig.worker("first") as first, rig.worker("second") as second:
        await rig.ready(first, price=10)
        job = await rig.submit()
        offer = await first.offer()
        await first.quote(INSTRUMENT)
        await rig.ready(second, price=20)
        await first.decline(offer, Reason.REASON_MODEL_NOT_LOADED)
        again = await second.offer()
        assert again.attempt == 2
        assert (await second.run(again, "done")).accepted
        assert (await rig.ended(job)).attempt == 2
    assert rig.core.workers[1].leases_failed == 1


async def test_an_unknown_reason_to_decline_counts_as_declined(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        await rig.submit()
        offer = await worker.offer()
        await worker.decline(offer, Reason.REASON_NOT_OWNER)
        await worker.quote(INSTRUMENT, 1_000)
        assert (await worker.offer()).attempt == 2


async def test_cancelling_a_running_job_reaches_the_worker(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        job = await rig.submit()
        offer = await worker.offer()
        await worker.begin(offer)
        await worker.chunk(offer, 0, "half an ")
        await rig.until(lambda: rig.state(job) == "RUNNING")
        await rig.jobs.CancelJob(jobs_pb.CancelJobRequest(job_id=job.job_id))
        cancel = (await worker.receive("cancel")).cancel
        assert (cancel.lease_id, cancel.fence) == (offer.lease_id, offer.fence)
        receipt = worker.receipt(offer, "half an ", cause=jobs_pb.STOP_CAUSE_CANCELLED)
        result = await worker.settle(receipt)
        assert result.accepted
        ended = await rig.ended(job)
        assert ended.state == jobs_pb.JOB_STATE_CANCELLED
        assert ended.paid_nanos == result.paid_nanos > 0
        assert (await rig.get(job, include_output=True)).output == "half an "


async def test_cancelling_an_offered_job_revokes_it(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        job = await rig.submit()
        offer = await worker.offer()
        await rig.jobs.CancelJob(jobs_pb.CancelJobRequest(job_id=job.job_id))
        assert (await worker.receive("revoke")).revoke.lease_id == offer.lease_id
        await worker.accept(offer)
        assert (await worker.refusal()).reason == Reason.REASON_LEASE_CLOSED


async def test_an_offer_that_is_not_taken_is_revoked(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        await rig.submit()
        offer = await worker.offer()
        revoke = (await worker.receive("revoke")).revoke
        assert (revoke.lease_id, revoke.reason) == (offer.lease_id, Reason.REASON_ACCEPT_TIMEOUT)


async def test_a_reconnecting_worker_keeps_its_lease(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        job = await rig.submit()
        offer = await worker.offer()
        await worker.begin(offer)
        await worker.chunk(offer, 0, "one ")
        await rig.until(lambda: rig.services.outputs.tokens(job.job_id))
        await worker.vanish()
        answer = await worker.register(held=[offer])
        assert [(r.lease_id, r.next_index) for r in answer.resumed] == [(offer.lease_id, 1)]
        await worker.chunk(offer, 0, "one ")  # a repeat changes nothing
        await worker.chunk(offer, 1, "two")
        assert (await worker.settle(worker.receipt(offer, "one two"))).accepted
        assert (await rig.get(job, include_output=True)).output == "one two"


async def test_a_cancel_while_away_is_told_on_return(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        job = await rig.submit()
        offer = await worker.offer()
        await worker.begin(offer)
        await rig.until(lambda: rig.state(job) == "RUNNING")
        await worker.vanish()
        await rig.jobs.CancelJob(jobs_pb.CancelJobRequest(job_id=job.job_id))
        answer = await worker.register(held=[offer])
        assert answer.resumed[0].cancelled


async def test_leases_that_the_worker_does_not_hold_are_given_back(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        job = await rig.submit()
        offer = await worker.offer()
        await worker.begin(offer)
        await rig.until(lambda: rig.state(job) == "RUNNING")
        await worker.vanish()
        answer = await worker.register()
        assert not answer.resumed
        again = await worker.offer()
        assert (again.attempt, again.lease_id) == (2, offer.lease_id + 1)


async def test_an_offer_made_while_away_is_made_again(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        await rig.submit()
        offer = await worker.offer()
        await worker.vanish()
        await worker.register()
        again = await worker.offer()
        assert (again.lease_id, again.fence) == (offer.lease_id, offer.fence)
        assert again.accept_within_ns < offer.accept_within_ns


async def test_a_held_lease_with_another_fence_is_void(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        job = await rig.submit()
        offer = await worker.offer()
        await worker.begin(offer)
        await rig.until(lambda: rig.state(job) == "RUNNING")
        await worker.vanish()
        lie = pb.LeaseOffer(lease_id=offer.lease_id, fence=pb.Fence(epoch=1, sequence=1))
        assert not (await worker.register(held=[lie])).resumed
        await rig.until(lambda: rig.core.jobs[job.job_id].attempt == 2)


async def test_a_second_session_replaces_the_first(rig: Rig) -> None:
    async with rig.worker() as first:
        await rig.ready(first)
        job = await rig.submit()
        offer = await first.offer()
        await first.begin(offer)
        async with rig.worker(private_key=first.private_key) as second:
            assert (await second.register(held=[offer])).resumed
            await first.receive("goodbye")
            with pytest.raises(SessionEnded) as ended:
                await first.receive("never")
            assert ended.value.error is not None
            assert error_info(ended.value.error).reason == "SESSION_REPLACED"
            await second.chunk(offer, 0, "mine now")
            assert (await second.settle(second.receipt(offer, "mine now"))).accepted
            assert (await rig.ended(job)).state == jobs_pb.JOB_STATE_SETTLED


async def test_goodbye_takes_the_worker_out(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        await worker.leave()
        assert rig.core.workers[1].state.name == "LEFT"
        assert not rig.core.workers[1].quotes


async def test_draining_takes_no_new_leases_and_finishes_the_old(rig: Rig) -> None:
    async with rig.worker(slots=(2,)) as worker:
        await rig.ready(worker)
        job = await rig.submit()
        offer = await worker.offer()
        await worker.begin(offer)
        await worker.send(drain=pb.Drain())
        change = (await worker.receive("change")).change
        assert change.state == pb.WORKER_STATE_DRAINING
        await worker.chunk(offer, 0, "last words")
        assert (await worker.settle(worker.receipt(offer, "last words"))).accepted
        assert (await rig.ended(job)).state == jobs_pb.JOB_STATE_SETTLED
        assert not rig.core.workers[1].quotes


async def test_both_sides_beat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "HEARTBEATS_MISSED_MAX", 1_000)  # a busy machine delays some
    async with open_rig(tmp_path, QUICK) as rig, rig.worker() as worker:
        await worker.register()
        session = rig.services.sessions._sessions[1]
        began_s = session.heard_s
        await rig.until(lambda: worker.heartbeats_heard > 2)
        await rig.until(lambda: session.heard_s > began_s)


async def test_a_silent_worker_is_lost(tmp_path: Path) -> None:
    slow = SessionConfig(heartbeat_ns=1_000 * MS)  # three times longer than STALL_S
    async with open_rig(tmp_path, slow) as rig, rig.worker(heartbeats=False) as worker:
        await rig.ready(worker)
        job = await rig.submit()
        await worker.begin(await worker.offer())
        await rig.until(lambda: rig.core.workers[1].state.name == "LOST")
        assert rig.state(job) == "QUEUED"
        with pytest.raises(SessionEnded) as ended:
            await worker.receive("never")
        assert ended.value.error is not None
        assert error_info(ended.value.error).reason == "WORKER_LOST"


async def test_a_worker_is_not_lost_because_the_exchange_stood_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "STALL_S", 0.0)  # whatever holds this machine up
    async with open_rig(tmp_path, QUICK) as rig, rig.worker() as worker:
        await rig.ready(worker)
        # What a stopped process, or a machine that swaps, looks like.
        asyncio.get_running_loop().call_soon(time.sleep, 1.0)
        await asyncio.sleep(0.5)
        assert rig.core.workers[1].state.name == "READY"
        assert rig.services.sessions.is_connected(1)


async def test_a_worker_that_leaves_its_messages_unread_is_cut_off(rig: Rig) -> None:
    async with rig.worker() as worker:
        await worker.register()
        session = rig.services.sessions._sessions[1]
        for _ in range(sessions.SESSION_QUEUE_MAX + 1):
            session.send(pb.SessionResponse(heartbeat=jobs_pb.Heartbeat()))
        with pytest.raises(SessionEnded) as ended:
            await worker.receive("never")
        assert ended.value.error is not None
        assert error_info(ended.value.error).reason == "SLOW_READER"


async def test_a_busy_engine_is_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = rig.exchange.engine
    submit, tries = engine.submit, 0

    def busy_at_first(command: Command) -> asyncio.Future[Outcome]:
        nonlocal tries
        tries += 1
        if tries <= 3:
            raise EngineBusy("full")
        return submit(command)

    async with rig.worker() as worker:
        await worker.register()
        monkeypatch.setattr(engine, "submit", busy_at_first)
        await worker.quote(INSTRUMENT, 5)
        await rig.until(lambda: rig.core.workers[1].quotes)
        assert tries == 4


async def test_the_exchange_says_goodbye_and_leases_survive_its_restart(tmp_path: Path) -> None:
    settings = SessionConfig(recovery_grace_ns=60_000 * MS)
    async with open_rig(tmp_path, settings) as rig:
        worker = rig.worker()
        await rig.ready(worker)
        job = await rig.submit()
        offer = await worker.offer()
        await worker.begin(offer)
        await worker.chunk(offer, 0, "before ")
        await rig.until(lambda: rig.state(job) == "RUNNING")
        rig.services.drain.begin()
        assert "shutting down" in (await worker.receive("goodbye")).goodbye.detail
        await worker.vanish()
    async with open_rig(tmp_path, settings) as rig:
        assert rig.state(job) == "RUNNING"
        async with rig.worker(private_key=worker.private_key) as again:
            answer = await again.register(held=[offer])
            # The output is not in the journal: it is wanted again from the beginning.
            assert [(r.lease_id, r.next_index) for r in answer.resumed] == [(offer.lease_id, 0)]
            await again.chunk(offer, 0, "before ")
            await again.chunk(offer, 1, "and after")
            assert (await again.settle(again.receipt(offer, "before and after"))).accepted
        assert (await rig.get(job, include_output=True)).output == "before and after"


async def test_an_offer_survives_a_restart_of_the_exchange(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        worker = rig.worker()
        await rig.ready(worker)
        job = await rig.submit()
        offer = await worker.offer()
        await worker.vanish()
    async with open_rig(tmp_path) as rig, rig.worker(private_key=worker.private_key) as again:
        await again.register()
        renewed = await again.offer()
        assert (renewed.lease_id, renewed.fence) == (offer.lease_id, offer.fence)
        assert renewed.accept_within_ns > 2_000 * MS  # the grace is added
        assert renewed.payload == offer.payload
        assert (await again.run(renewed, "at last")).accepted
        assert (await rig.ended(job)).attempt == 1


async def test_a_worker_that_does_not_return_after_a_restart_is_lost(tmp_path: Path) -> None:
    settings = SessionConfig(recovery_grace_ns=2_000 * MS)
    async with open_rig(tmp_path, settings) as rig, rig.worker() as worker:
        await rig.ready(worker)
    async with open_rig(tmp_path, settings) as rig:
        assert rig.core.workers[1].state.name == "READY"
        await rig.until(lambda: rig.core.workers[1].state.name == "LOST")

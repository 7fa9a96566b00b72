from __future__ import annotations

import asyncio
import contextlib
import hashlib

import pytest

from exchange.core.commands import SettleLease
from exchange.core.events import ReceiptSettled
from exchange.core.reasons import Reason
from exchange.core.recorded import Recorded
from exchange.engine import Group, Outcomes
from exchange.rpc import outputs
from exchange.rpc.outputs import Output, OutputHub, StoredOutput, TooManyWatchers
from tests.exchange.core.rows import rows_of
from tests.waiting import WITHIN_S


def test_chunks_come_in_order_and_repeats_change_nothing() -> None:
    output = Output(lease_id=7, attempt=2)
    assert output.add(0, "Hello ", 2) is Reason.NONE
    assert output.add(1, "wörld", 1) is Reason.NONE
    assert output.add(0, "other", 9) is Reason.NONE
    assert output.next_index == 2
    assert output.tokens == 3
    assert output.digest() == hashlib.sha256("Hello wörld".encode()).digest()
    assert output.stored().text == "Hello wörld"


def test_a_gap_is_refused_and_nothing_is_taken() -> None:
    output = Output(1, 1)
    assert output.add(1, "late", 1) is Reason.FIELD_INVALID
    assert output.next_index == 0
    assert output.digest() == hashlib.sha256().digest()


def test_tokens_cannot_exceed_what_the_text_can_hold() -> None:
    output = Output(1, 1)
    output.add(0, "ab", 1_000)
    assert output.tokens == 2


def test_the_longest_chunk() -> None:
    output = Output(1, 1)
    assert output.add(0, "x" * (outputs.CHUNK_BYTES_MAX + 1), 1) is Reason.FIELD_INVALID
    assert output.add(0, "x" * outputs.CHUNK_BYTES_MAX, 1) is Reason.NONE


@pytest.mark.parametrize("text", ["", "x" * 1_000])
def test_the_longest_output(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "OUTPUT_BYTES_MAX", 10_000)
    output = Output(1, 1)
    taken = 0
    while output.add(taken, text, 1) is Reason.NONE:
        taken += 1
    assert taken == 10_000 // (len(text) + outputs.PIECE_BYTES)


def test_stored_output_round_trip() -> None:
    output = Output(1, 3)
    output.add(0, "a\u0000\U0001f600", 2)
    stored = StoredOutput.decode(output.stored().encode())
    assert (stored.attempt, stored.text, stored.pieces) == (3, "a\u0000\U0001f600", output.pieces)


def test_a_new_lease_voids_the_output_of_the_last() -> None:
    hub = OutputHub()
    hub.open(1, lease_id=10, attempt=1).add(0, "void", 1)
    assert hub.open(1, lease_id=10, attempt=1).next_index == 1
    assert hub.open(1, lease_id=11, attempt=2).next_index == 0
    hub.close(1, lease_id=10)  # the old lease's end does not touch the new one
    found = hub.find(1)
    assert found is not None
    assert found.attempt == 2
    hub.close(1, lease_id=11)
    assert hub.find(1) is None


async def test_watchers_hear_of_their_job_only() -> None:
    hub = OutputHub()
    with hub.watch(1) as one, hub.watch(2) as other:
        hub.notify(1)
        hub.notify(1)
        assert await one.wait(WITHIN_S)
        assert not await one.wait(0.01)
        assert not await other.wait(0.01)
    hub.notify(1)


async def test_watchers_of_a_job_hear_in_order_of_arrival() -> None:
    """In that of their addresses, two processes with the same seed would go two ways."""
    hub, heard = OutputHub(), list[int]()

    async def listen(number: int) -> None:
        with hub.watch(1) as watcher:
            await watcher.wait(WITHIN_S)
        heard.append(number)

    async with asyncio.TaskGroup() as listeners:
        for number in range(outputs.WATCHERS_PER_JOB_MAX):
            listeners.create_task(listen(number))
        await asyncio.sleep(0)
        hub.notify(1)
    assert heard == sorted(heard)


async def test_most_watchers_of_a_job_and_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "WATCHERS_PER_JOB_MAX", 2)
    monkeypatch.setattr(outputs, "WATCHERS_MAX", 3)
    hub = OutputHub()
    with contextlib.ExitStack() as stack:
        for job_id in (1, 1, 2):
            stack.enter_context(hub.watch(job_id))
        for job_id in (1, 2):
            with pytest.raises(TooManyWatchers), hub.watch(job_id):
                pass
    with hub.watch(1):
        pass


def settlement(job_id: int, tokens: int) -> Group:
    digest = bytes(32)
    command = SettleLease(
        1, job_id, 1, 1, 1, 1, 5, tokens, digest, digest, digest, digest, digest, b""
    )
    event = ReceiptSettled(job_id, job_id, 1, 3, 1, 5, 10, 1, digest)
    return Group(Recorded(command.encode()), Outcomes(job_id, 0, rows_of([[event]])))


def test_token_counts_are_those_of_the_paid_receipt_and_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outputs, "TOKEN_COUNTS_MAX", 3)
    hub = OutputHub()
    for job_id in range(1, 6):
        hub.on_group(settlement(job_id, tokens=10 * job_id))
    hub.on_group(settlement(5, tokens=0))  # a repeat brings no count of its own
    assert [hub.tokens(job_id) for job_id in range(1, 7)] == [0, 0, 30, 40, 50, 0]


def test_earlier_token_counts_are_filled_in_as_far_as_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outputs, "TOKEN_COUNTS_MAX", 3)
    hub = OutputHub()
    for job_id in (5, 6):
        hub.on_group(settlement(job_id, tokens=10 * job_id))
    hub.fill({2: 20, 3: 30, 4: 40, 5: 1})
    assert [hub.tokens(job_id) for job_id in range(2, 7)] == [0, 0, 40, 50, 60]

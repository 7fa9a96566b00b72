"""Is what clients heard one history? `make history COMMANDS=1000000`, or

    python -m tests.integration.history --commands 1000000 --clients 3 --seed 1

A real server and several client processes, each with several batches under way. Afterwards every
answer is held against the journal, in one pass over each client's record and one over the journal:

* every sequence that was acknowledged was acknowledged once;
* where one answer came before another request was sent, the sequences say so, too;
* what the journal holds at a sequence is what was sent, and replaying it gives, byte for byte, the
  answer that came.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from exchange.core.commands import Command, decode
from exchange.core.exchange import Exchange
from exchange.core.limits import RULES_VERSION
from exchange.engine import Outcomes
from exchange.journal import read_journal
from exchange.rpc.convert import orders, packed
from exchange.testing import uuid7
from exchange.v1 import admin_service_pb2 as admin_pb
from exchange.v1 import order_service_pb2 as pb
from tests.integration.crash_site import CrashSite
from tests.integration.history_client import STREAM, Exchanged, read_records

ROOT = Path(__file__).parents[2]
FUNDS = 10**12
"""What each client's account begins with, nano-dollars."""
COMMANDS = 20_000
CLIENTS = 3


class Answered(NamedTuple):
    """An answer, and which commands it answered."""

    client: int
    sent_ns: int
    answered_ns: int
    first: int
    last: int
    exchanged: Exchanged


class Finding(AssertionError):
    """The answers are not one history."""


async def record(site: CrashSite, commands: int, clients: int, seed: int) -> list[Path]:
    """Let the clients trade; their files."""
    await site.start()
    await site.furnish()
    processes, paths = [], []
    for number in range(clients):
        path = site.directory / f"client-{number}"
        key = await _open_account(site, f"history-{number}")
        part = commands // clients + (number < commands % clients)
        processes.append(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.integration.history_client"),
                *(site.address, key, str(seed * 1_000 + number), str(part), str(path)),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        )
        paths.append(path)
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
    for process in processes:
        assert await process.wait() == 0, "a client failed"
    return paths


async def _open_account(site: CrashSite, name: str) -> str:
    await site.admin("CreateAccount", admin_pb.CreateAccountRequest(name=name, paper=True))
    asked = admin_pb.CreateKeyRequest(account=name, roles=["trader"], label="history")
    secret: str = (await site.admin("CreateKey", asked)).secret
    money = admin_pb.DepositRequest(account=name, request_id=uuid7(), amount_nanos=FUNDS)
    await site.admin("Deposit", money)
    return secret


def check(journal: Path, accounts: list[int], paths: list[Path]) -> Counter[str]:
    """Hold the clients' records against the journal; what was checked. Linear in both.

    Args:
        journal: Of an exchange that has been stopped.
        accounts: Each client's account.
        paths: Each client's file.

    Raises:
        Finding: with what does not agree.
    """
    answers = [list(_answers(number, path)) for number, path in enumerate(paths)]
    by_first: dict[int, Answered] = {}
    for answer in (answer for of_client in answers for answer in of_client):
        if answer.first in by_first:
            raise Finding(f"sequence {answer.first} was acknowledged twice")
        by_first[answer.first] = answer
    found = Counter(answers=len(by_first))
    found["commands"] = check_once(by_first.values())
    found["pairs in order"] = check_real_time(answers)
    found["records"] = check_replay(journal, accounts, by_first)
    if by_first:
        raise Finding(f"{len(by_first)} answers are of commands that the journal does not hold")
    return found


def _answers(client: int, path: Path) -> Iterator[Answered]:
    for item in read_records(path):
        if item.kind == STREAM:
            request = pb.TradeRequest.FromString(item.request)
            count = len(request.packed) // packed.ROW_BYTES + len(request.instructions)
            last = pb.TradeResponse.FromString(item.response).sequence
        else:
            count = 1
            last = pb.PlaceOrderResponse.FromString(item.response).reports[0].sequence
        yield Answered(client, item.sent_ns, item.answered_ns, last - count + 1, last, item)


def check_once(answers: Iterable[Answered]) -> int:
    """No sequence lies in two answers; how many there are."""
    expected = 0
    total = 0
    for answer in sorted(answers, key=lambda answer: answer.first):
        if answer.first <= expected:
            raise Finding(f"sequence {answer.first} was acknowledged twice")
        expected = answer.last
        total += answer.last - answer.first + 1
    return total


def check_real_time(answers: list[list[Answered]]) -> int:
    """What was answered before something else was sent has the lower sequences.

    One sweep over all moments: at each answer the highest sequence answered so far is noted, and
    each request sent later must lie above it.

    Returns:
        How many requests had an answer before them to be compared with.
    """
    sent = [sorted((a.sent_ns, 1, a.first) for a in of_client) for of_client in answers]
    heard = [sorted((a.answered_ns, 0, a.last) for a in of_client) for of_client in answers]
    highest = compared = 0
    for _, is_request, sequence in heapq.merge(*sent, *heard):
        if not is_request:
            highest = max(highest, sequence)
        elif highest:
            if sequence <= highest:
                raise Finding(f"{sequence} was sent after {highest} had been answered")
            compared += 1
    return compared


def check_replay(journal: Path, accounts: list[int], by_first: dict[int, Answered]) -> int:
    """Replaying the journal gives each answer; takes those that were found out of `by_first`."""
    core = Exchange()
    for record_ in read_journal(journal, rules_version=RULES_VERSION):
        commands = decode(record_.payload)
        events = core.apply(commands)
        first, now_ns = record_.first_sequence, core.now_ns
        at = 0
        while at < len(commands):
            answer = by_first.pop(first + at, None)
            if answer is None:
                at += 1
                continue
            end = at + answer.last - answer.first + 1
            outcomes = Outcomes(first + at, now_ns, events[at:end])
            _compare(core, accounts[answer.client], answer.exchanged, commands[at:end], outcomes)
            at = end
    core.check()
    return core.sequence


def _compare(
    core: Exchange,
    account_id: int,
    exchanged: Exchanged,
    commands: Sequence[Command],
    outcomes: Outcomes,
) -> None:
    if exchanged.kind == STREAM:
        request = pb.TradeRequest.FromString(exchanged.request)
        if request.packed:
            made = packed.batch(account_id, request.packed)
            answer = pb.TradeResponse.FromString(
                packed.answer(core, request.request_id, account_id, made, outcomes)
            )
        else:
            made = orders.batch(account_id, request.instructions)
            answer = orders.answer(core, request.request_id, made, outcomes)
        sent: list[object] = [*made.commands]
        same = answer == pb.TradeResponse.FromString(exchanged.response)
    else:
        order = pb.PlaceOrderRequest.FromString(exchanged.request).order
        command = orders.place_order(account_id, order)
        sent = [command]
        reports = orders.reports_of(
            core, outcomes.first_sequence, outcomes.now_ns, commands[0], outcomes.events[0], 0
        )
        same = pb.PlaceOrderResponse(reports=reports) == pb.PlaceOrderResponse.FromString(
            exchanged.response
        )
    if sent != [*commands]:
        raise Finding(f"the journal holds other commands at {outcomes[0].sequence} than were sent")
    if not same:
        raise Finding(f"replaying {outcomes[0].sequence} gives another answer than came")


async def history(directory: Path, commands: int, clients: int, seed: int) -> Counter[str]:
    """Record a history and check it; what was checked."""
    site = CrashSite(directory, seed)
    began = time.monotonic()
    try:
        paths = await record(site, commands, clients, seed)
    finally:
        await site.stop()
    recorded = time.monotonic()
    found = check(site.data / "journal", _accounts(site.data / "journal", clients), paths)
    found["seconds to record"] = round(recorded - began)
    found["seconds to check"] = round(time.monotonic() - recorded)
    return found


def _accounts(journal: Path, clients: int) -> list[int]:
    """The clients' accounts, as the journal's first records open them."""
    core = Exchange()
    names = [f"history-{number}" for number in range(clients)]
    for record_ in read_journal(journal, rules_version=RULES_VERSION):
        core.apply(decode(record_.payload))
        if all(name in core.account_by_name for name in names):
            break
    return [core.account_by_name[name] for name in names]


def main() -> int:
    """Record and check, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commands", type=int, default=COMMANDS)
    parser.add_argument("--clients", type=int, default=CLIENTS, help="client processes")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="history-") as name:
        try:
            found = asyncio.run(
                history(Path(name), options.commands, options.clients, options.seed)
            )
        except Finding as finding:
            sys.stdout.write(
                f"{finding}: make history COMMANDS={options.commands} SEED={options.seed}\n"
            )
            return 1
    sys.stdout.write(f"history: {dict(found)}: one history\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

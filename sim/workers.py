"""Workers, played: what they answer to leases, and the receipts and quotes that they send.

A worker takes what it is offered at once, computes for as long as its class promises, and sends a
true receipt, unless the conduct says otherwise. A lost one is silent until the exchange finds out.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from exchange.core import commands as c
from exchange.core.events import LeaseOffered, WorkerState
from exchange.core.exchange import Exchange
from exchange.core.limits import NS_PER_S
from exchange.core.reasons import Reason
from exchange.metering.cards import ModelCard
from exchange.metering.traces import DenseTrace, flops
from sim.agents.conduct import Claim, Conduct, Deed
from sim.demand import Job
from sim.scenario import FLOPS_PER_TOKEN
from sim.supply import Change

CARD: Final = ModelCard(name="simulated", family="instant", flops_per_token=FLOPS_PER_TOKEN)
CARD_DIGEST: Final = CARD.digest()
CLAIMED_TOO_MUCH: Final = 1.5
"""FLOPs that a lying receipt states, over those of its own trace."""
_ZERO: Final = bytes(32)


class Running:
    """A lease at work.

    Attributes:
        offer: The lease.
        input_tokens: That will be computed of it.
        output_tokens: The same of its answer.
        begin_ns: When it began, nanoseconds since the epoch.
        end_ns: When all of that is done; 0 until it is planned.
        cancels_ns: When its buyer stops it before; 0 for never.
        slowness: Times the run time that its class promises.
        claim: What its receipt will say.
    """

    __slots__ = (
        "begin_ns",
        "cancels_ns",
        "claim",
        "end_ns",
        "input_tokens",
        "offer",
        "output_tokens",
        "slowness",
    )

    def __init__(
        self, offer: LeaseOffered, tokens: tuple[int, int], begin_ns: int, deed: Deed
    ) -> None:
        self.offer = offer
        self.input_tokens, self.output_tokens = tokens
        self.begin_ns = begin_ns
        self.end_ns = 0
        self.cancels_ns = 0
        self.slowness: float = deed.slowness
        self.claim = deed.claim

    @property
    def stops_ns(self) -> int:
        """When its work ends, one way or the other."""
        return self.cancels_ns or self.end_ns

    def done_tokens(self, now_ns: int) -> int:
        """Computed by now, rounded up: a token that was begun is made."""
        whole_ns = self.end_ns - self.begin_ns
        tokens = self.input_tokens + self.output_tokens
        return -(-tokens * min(now_ns - self.begin_ns, whole_ns) // whole_ns)


class Workers:
    """All workers of a market.

    Args:
        core: The live engine.
        conduct: What they do that an honest worker would not, and how much they compute.
        jobs: Those in the market, as their buyers tell them, by the exchange's id.
        class_of: Index of the class, by instrument.
        begin_ns: The market's begin; the conduct's times count from it.
    """

    def __init__(
        self,
        core: Exchange,
        conduct: Conduct,
        jobs: Mapping[int, Job],
        class_of: Mapping[int, int],
        begin_ns: int,
    ) -> None:
        self._core, self._conduct, self._jobs = core, conduct, jobs
        self._class_of, self._begin_ns = class_of, begin_ns
        self.standing = True  # quotes state an ask for every slot
        self.changes: Sequence[Change] = ()
        self.found_after_ns = 0
        self._changing = 0  # the next of the changes
        self.asks: Sequence[tuple[int, Sequence[tuple[int, ...]]]] = ()  # by time, then by class
        self._asking = 1  # the next of them; workers come with the first
        self._silent: dict[int, int] = {}  # lost workers -> when the exchange finds out
        self._in_use: list[int] = []  # slots, by worker
        self._comings: list[tuple[c.RegisterWorker, c.SetQuote]] = []  # by worker
        self._at_work: dict[int, Running] = {}  # by lease
        self._times: list[int] = []  # a heap: when something of what is at work ends
        self._ends: dict[int, list[int]] = {}  # the leases of each, in the order of their plans

    def join(self, register: c.RegisterWorker, quote: c.SetQuote) -> list[c.Command]:
        """One more worker; the engine knows them by the order in which they come, from 1 on."""
        self._comings.append((register, quote))
        self._in_use.append(0)
        return [register, self._quote(quote.worker_id)]

    def next_ns(self) -> int | None:
        """When one of them does something next; None: never, as far as is known."""
        next_ns = self._times[0] if self._times else 0
        for due_ns in self._due_ns():
            if not next_ns or self._begin_ns + due_ns < next_ns:
                next_ns = self._begin_ns + due_ns
        return next_ns or None

    def _due_ns(self) -> list[int]:
        """When workers are next lost, found out, come back or ask anew, from the market's begin."""
        times = list(self._silent.values())
        if self._changing < len(self.changes):
            times.append(self.changes[self._changing].at_ns)
        if self._asking < len(self.asks):
            times.append(self.asks[self._asking][0])
        return times

    @property
    def busy(self) -> bool:
        """Whether anything is at work."""
        return bool(self._times)

    def changed(self, now_ns: int) -> list[c.Command]:
        """New quotes, losses and returns of workers that are due, and losses that are found out."""
        market_ns = now_ns - self._begin_ns
        commands = self._repriced(market_ns)  # so that who comes back now asks the same
        while self._changing < len(self.changes):
            at_ns, worker, present = self.changes[self._changing]
            if at_ns > market_ns:
                break
            self._changing += 1
            worker_id = worker + 1
            if present:
                self._silent.pop(worker_id, None)  # registering again tells it, too
                self._in_use[worker] = 0
                commands += [self._comings[worker][0], self._quote(worker_id)]
            else:
                self._silent[worker_id] = at_ns + self.found_after_ns
        found = [worker_id for worker_id, due_ns in self._silent.items() if due_ns <= market_ns]
        for worker_id in found:
            del self._silent[worker_id]
            commands.append(c.WorkerLost(worker_id))
        return commands

    def _repriced(self, market_ns: int) -> list[c.Command]:
        """The quotes of all workers that are there, where what they ask has changed."""
        first = self._asking
        while self._asking < len(self.asks) and self.asks[self._asking][0] <= market_ns:
            self._asking += 1
        if self._asking == first:
            return []
        _, asks = self.asks[self._asking - 1]
        commands: list[c.Command] = []
        for worker_id, (register, quote) in enumerate(self._comings, 1):
            prices = asks[self._class_of[quote.instrument_id]]
            fresh = msgspec.structs.replace(quote, prices_nanos=prices)
            self._comings[worker_id - 1] = register, fresh
            there = self._core.workers[worker_id].state == WorkerState.READY
            if there and worker_id not in self._silent:
                commands.append(self._quote(worker_id))
        return commands

    def answer(self, offer: LeaseOffered, now_ns: int) -> list[c.Command]:
        """What the worker says to a lease; one that takes it begins at once."""
        if offer.worker_id in self._silent:
            return []
        lease = offer.worker_id, offer.lease_id, offer.fence_epoch, offer.fence_sequence
        told, market_ns = self._jobs[offer.job_id], now_ns - self._begin_ns
        deed = self._conduct.deed(offer.worker_id - 1, told)
        if not deed.takes:
            decline = c.DeclineLease(*lease, Reason.WORKER_DECLINED)
            return [decline, self._quote(offer.worker_id)]
        if deed.delivers:
            self._conduct.taken(told, self._class_of[offer.instrument_id], market_ns)
            fits = self._fits(offer, told, now_ns)
            tokens = self._conduct.computed(told, market_ns, fits)
            running = Running(offer, tokens, now_ns, deed)
            self._plan(running)
            ends_ns = running.end_ns - self._begin_ns
            cancels_ns = self._conduct.cancels_ns(told, market_ns, ends_ns)
            if cancels_ns is not None:
                running.cancels_ns = self._begin_ns + cancels_ns
            self._keep(running)
        answers: list[c.Command] = [c.AcceptLease(*lease), c.StartLease(*lease)]
        return answers + self._requoted(offer.worker_id, +1)

    def revised(self, now_ns: int) -> None:
        """Ask of all that is at work whether so much is still to be computed."""
        for running in list(self._at_work.values()):
            self._revise(running, now_ns)

    def finished(self, now_ns: int) -> list[c.Command]:
        """Receipts of the work that ends now, and cancellations of work that its buyer stops."""
        commands: list[c.Command] = []
        while self._times and self._times[0] <= now_ns:
            at_ns = heapq.heappop(self._times)
            for lease_id in self._ends[at_ns]:  # one that is planned anew to end now joins them
                commands += self._finish(lease_id, at_ns, now_ns)
            del self._ends[at_ns]
        return commands

    def _finish(self, lease_id: int, at_ns: int, now_ns: int) -> list[c.Command]:
        """What there is to say of one lease for which this was a time to end."""
        running = self._at_work.get(lease_id)
        if running is None or at_ns != running.stops_ns:
            return []  # the plan is void
        told, offer = self._jobs.get(running.offer.job_id), running.offer
        if offer.worker_id in self._silent or not self._core.leases[lease_id].is_open:
            del self._at_work[lease_id]  # it was lost
            return []
        assert told is not None, "a lease is open and its job is not"
        if running.cancels_ns:
            said = self._cut(running, told, now_ns)
        else:
            self._revise(running, now_ns)
            if running.end_ns > now_ns:
                return []
            said = [_receipt(running, told)]
        del self._at_work[lease_id]
        return said + self._requoted(offer.worker_id, -1)

    def _cut(self, running: Running, told: Job, now_ns: int) -> list[c.Command]:
        """The buyer cancels; the worker stops at once and says what was done."""
        done = running.done_tokens(now_ns)
        running.output_tokens = max(done - running.input_tokens, 1)
        running.input_tokens = min(done, running.input_tokens)
        cancel = c.CancelJob(running.offer.buyer_account_id, running.offer.job_id)
        return [cancel, _receipt(running, told, c.StopCause.CANCELLED)]

    def _fits(self, offer: LeaseOffered, told: Job, begin_ns: int) -> int:
        """Tokens that the class makes between the begin and the deadline that the engine knows."""
        terms = self._core.instruments[offer.instrument_id].terms
        left_ns = self._begin_ns + told.deadline_ns - begin_ns
        # Prompt and answer are made at one rate; each is rounded up to a nanosecond.
        return left_ns * terms.decode_millitokens_per_s // (1_000 * NS_PER_S) - 1

    def _plan(self, running: Running) -> None:
        """Let it end when its tokens are made."""
        instrument = self._core.instruments[running.offer.instrument_id]
        takes_ns = instrument.run_time_ns(running.input_tokens, running.output_tokens)
        if running.slowness != 1:
            takes_ns = round(takes_ns * running.slowness)
        running.end_ns = running.begin_ns + takes_ns

    def _keep(self, running: Running) -> None:
        """This is the plan for the lease from now on."""
        lease_id, at_ns = running.offer.lease_id, running.stops_ns
        self._at_work[lease_id] = running
        ending = self._ends.get(at_ns)
        if ending is None:
            self._ends[at_ns] = [lease_id]
            heapq.heappush(self._times, at_ns)
        else:
            ending.append(lease_id)

    def _revise(self, running: Running, now_ns: int) -> None:
        """Ask whether so much of one is still to be computed."""
        told = self._jobs.get(running.offer.job_id)
        if not self._conduct.revises or told is None:
            return
        done = running.done_tokens(now_ns)
        fits = self._fits(running.offer, told, running.begin_ns)
        tokens = self._conduct.revised(told, done, now_ns - self._begin_ns, fits)
        if tokens is None or tokens == (running.input_tokens, running.output_tokens):
            return
        running.input_tokens, running.output_tokens = tokens
        self._plan(running)
        self._keep(running)

    def _requoted(self, worker_id: int, more: int) -> list[c.Command]:
        """The quote of a worker whose slots in use have changed, where one does not stand."""
        if self.standing:
            return []
        self._in_use[worker_id - 1] += more
        return [self._quote(worker_id)]

    def _quote(self, worker_id: int) -> c.SetQuote:
        quote, used = self._comings[worker_id - 1][1], self._in_use[worker_id - 1]
        prices = quote.prices_nanos
        if not self.standing:
            prices = (prices[min(used, len(prices) - 1)],) * len(prices)
        return msgspec.structs.replace(quote, prices_nanos=prices)


def _receipt(
    running: Running, told: Job, cause: c.StopCause = c.StopCause.FINISHED
) -> c.SettleLease:
    """What the worker says that it did, and what the gateway saw of it."""
    offer, claim = running.offer, running.claim
    tokens = running.input_tokens, running.output_tokens
    received = running.output_tokens
    if claim in (Claim.TRACE, Claim.FILLER):
        tokens = told.input_tokens, told.output_tokens
        received = told.output_tokens if claim == Claim.FILLER else received
    trace = DenseTrace(tokens[0], tokens[1] - 1)
    counted = flops(CARD, trace)
    return c.SettleLease(
        worker_id=offer.worker_id,
        lease_id=offer.lease_id,
        fence_epoch=offer.fence_epoch,
        fence_sequence=offer.fence_sequence,
        cause=cause,
        signature_valid=1,
        flops=round(counted * CLAIMED_TOO_MUCH) if claim == Claim.FLOPS else counted,
        tokens_received=received,
        model_digest=CARD_DIGEST,
        input_digest=_ZERO,
        output_digest=_ZERO,
        output_digest_received=_ZERO,
        receipt_digest=hashlib.sha256(offer.lease_id.to_bytes(8, "big")).digest(),
        trace=trace.encode(),
    )

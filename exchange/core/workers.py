"""Workers: registration, slot pools, standing quotes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from exchange.core.accounts import EXTERNAL
from exchange.core.commands import (
    AccountKind,
    RegisterWorker,
    SetQuote,
    Settlement,
    SetWorker,
    TradingState,
    WithdrawQuote,
    WorkerAction,
)
from exchange.core.events import QuoteEnded, QuoteSet, WorkerRegistered, WorkerState
from exchange.core.events import WorkerStateChanged as StateChanged
from exchange.core.limits import (
    FACTS_BYTES_MAX,
    NAME_BYTES_MAX,
    POOLS_PER_WORKER_MAX,
    QUOTE_TTL_MAX_NS,
    SLOTS_PER_POOL_MAX,
    WORKERS_MAX,
)
from exchange.core.reasons import Reason
from exchange.core.timers import TimerKind
from matching.slots import SlotPool, StandingQuote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exchange.core.instruments import Instrument
    from exchange.core.jobs import JobDesk
    from exchange.core.state import State

PRESENT = (WorkerState.READY, WorkerState.PAUSED, WorkerState.DRAINING)
"""States in which a worker's session is expected to be there."""


class Quote:
    """A standing quote as its worker set it; `listed` is what the clearing group holds of it."""

    __slots__ = ("instrument_id", "listed", "pool", "prices_nanos", "quote_id")

    def __init__(self, pool: int, listed: StandingQuote) -> None:
        self.quote_id = listed.quote_id
        self.instrument_id = listed.instrument_id
        self.pool = pool
        self.prices_nanos = listed.prices
        self.listed = listed


class Pool:
    """A slot pool and whose it is: pool number `index` of `worker_id`."""

    __slots__ = ("index", "slots", "worker_id")

    def __init__(self, worker_id: int, index: int, slots: SlotPool) -> None:
        self.worker_id = worker_id
        self.index = index
        self.slots = slots


class Worker:
    """A seller of slots. Its public key is pinned at the first registration."""

    __slots__ = (
        "account_id",
        "earned_flops",
        "earned_nanos",
        "facts",
        "lease_ids",
        "leases_failed",
        "leases_settled",
        "name",
        "pools",
        "public_key",
        "quotes",
        "state",
        "worker_id",
    )

    def __init__(self, worker_id: int, command: RegisterWorker, pools: list[Pool]) -> None:
        self.worker_id = worker_id
        self.account_id = command.account_id
        self.name = command.name
        self.public_key = command.public_key
        self.facts = command.facts
        self.pools = pools
        self.quotes: dict[tuple[int, int], Quote] = {}  # (instrument, pool index)
        self.lease_ids: set[int] = set()
        self.state = WorkerState.READY
        self.leases_settled = 0
        self.leases_failed = 0
        self.earned_flops = 0
        self.earned_nanos = 0

    @property
    def slots(self) -> list[int]:
        """Slots of each pool."""
        return [pool.slots.slots for pool in self.pools]

    @property
    def in_use(self) -> list[int]:
        """Slots in use of each pool."""
        return [pool.slots.in_use for pool in self.pools]

    def state_tuple(self) -> tuple[object, ...]:
        """Canonical state, for the digest; listed quotes are the clearing group's."""
        return (
            self.worker_id,
            self.account_id,
            self.name,
            self.public_key,
            self.facts,
            [(p.slots.pool_id, p.slots.slots, p.slots.in_use) for p in self.pools],
            [(*key, self.quotes[key].quote_id) for key in sorted(self.quotes)],
            sorted(self.lease_ids),
            int(self.state),
            self.leases_settled,
            self.leases_failed,
            str(self.earned_flops),  # soon exceeds 64 bits
            str(self.earned_nanos),
        )

    @classmethod
    def restored(cls, state: Sequence[Any]) -> Worker:
        """The worker whose state it was, without its quotes."""
        worker_id, account_id, name, public_key, facts, slots, _, lease_ids, *rest = state
        pools = []
        for index, (pool_id, count, in_use) in enumerate(slots):
            pool = SlotPool(pool_id, account_id, count)
            pool.in_use = in_use
            pools.append(Pool(worker_id, index, pool))
        counts = tuple(count for _, count, _ in slots)
        command = RegisterWorker(account_id, 0, public_key, name, counts, facts)
        worker = cls(worker_id, command, pools)
        worker.lease_ids = set(lease_ids)
        worker_state, worker.leases_settled, worker.leases_failed, flops, nanos = rest
        worker.state = WorkerState(worker_state)
        worker.earned_flops, worker.earned_nanos = int(flops), int(nanos)
        return worker


class WorkerDesk:
    """Registers workers and keeps their quotes; their leases are the lease desk's."""

    def __init__(self, state: State, jobs: JobDesk) -> None:
        self._state = state
        self._jobs = jobs

    def register(self, command: RegisterWorker) -> Reason:
        """A session opens. A known name must come with its pinned key."""
        state = self._state
        account = state.accounts.get(command.account_id)
        if account is None or command.account_id in EXTERNAL:
            return Reason.UNKNOWN_ACCOUNT
        if account.kind != AccountKind.REAL:  # leases earn credit; paper must not turn into it
            return Reason.ORDER_TYPE_UNSUPPORTED
        if not 0 < len(command.name.encode()) <= NAME_BYTES_MAX:
            return Reason.FIELD_INVALID
        if not 0 < len(command.slots) <= POOLS_PER_WORKER_MAX:
            return Reason.FIELD_INVALID
        if not all(0 < n <= SLOTS_PER_POOL_MAX for n in command.slots):
            return Reason.FIELD_INVALID
        if len(command.facts) > FACTS_BYTES_MAX or len(command.public_key) != 32:
            return Reason.FIELD_INVALID
        worker_id = state.worker_by_name.get((command.account_id, command.name), 0)
        if worker_id:
            return self._register_again(state.workers[worker_id], command)
        if len(state.workers) >= WORKERS_MAX:
            return Reason.EXCHANGE_FULL
        state.counters.worker += 1
        worker_id = state.counters.worker
        worker = Worker(worker_id, command, self._open_pools(worker_id, command))
        state.workers[worker_id] = worker
        state.worker_by_name[command.account_id, command.name] = worker_id
        state.emit(WorkerRegistered(worker_id, worker.account_id, worker.name, ()))
        return Reason.NONE

    def _open_pools(self, worker_id: int, command: RegisterWorker) -> list[Pool]:
        state = self._state
        pools = []
        for index, slots in enumerate(command.slots):
            state.counters.pool += 1
            pool_id = state.counters.pool
            pool = Pool(worker_id, index, SlotPool(pool_id, command.account_id, slots))
            state.pools[pool_id] = pool
            pools.append(pool)
        return pools

    def _register_again(self, worker: Worker, command: RegisterWorker) -> Reason:
        if command.public_key != worker.public_key:
            return Reason.KEY_MISMATCH
        if len(command.slots) != len(worker.pools):
            return Reason.FIELD_INVALID
        resized = list(zip(command.slots, worker.pools, strict=True))
        if command.resume and any(n < pool.slots.in_use for n, pool in resized):
            return Reason.SLOTS_IN_USE
        for n, pool in resized:
            pool.slots.resize(n)
        for instrument_id, _ in worker.quotes:  # a slot more may let something trade
            self._jobs.arm(self._state.instruments[instrument_id].clearing_group_id)
        worker.facts = command.facts
        if worker.state not in PRESENT:
            worker.state = WorkerState.READY
        held = tuple(sorted(worker.lease_ids))
        self._state.emit(WorkerRegistered(worker.worker_id, worker.account_id, worker.name, held))
        return Reason.NONE

    def set_quote(self, command: SetQuote) -> Reason:
        """A standing quote stands until its time to live has passed, or another replaces it."""
        state = self._state
        worker = state.workers.get(command.worker_id)
        if worker is None:
            return Reason.UNKNOWN_WORKER
        if worker.state != WorkerState.READY:
            return Reason.WORKER_PAUSED
        if state.accounts[worker.account_id].halted:
            return Reason.ACCOUNT_HALTED
        if command.pool >= len(worker.pools):
            return Reason.UNKNOWN_POOL
        instrument = state.instruments.get(command.instrument_id)
        if instrument is None:
            return Reason.UNKNOWN_INSTRUMENT
        if instrument.terms.settlement != Settlement.LEASE:
            return Reason.ORDER_TYPE_UNSUPPORTED
        if instrument.state == TradingState.CLOSED:
            return Reason.INSTRUMENT_HALTED
        pool = worker.pools[command.pool]
        refusal = _prices_refusal(command, instrument, pool)
        if refusal:
            return refusal
        self._list(worker, instrument, pool, command)
        return Reason.NONE

    def _list(self, worker: Worker, instrument: Instrument, pool: Pool, command: SetQuote) -> None:
        state = self._state
        key = (instrument.instrument_id, pool.index)
        old = worker.quotes.get(key)
        if old is None:
            state.counters.quote += 1
        quote_id = old.quote_id if old else state.counters.quote
        listed = StandingQuote(
            quote_id,
            instrument.instrument_id,
            pool.slots,
            command.prices_nanos,
            state.sequence,
        )
        state.groups[instrument.clearing_group_id].set_quote(listed)
        worker.quotes[key] = Quote(pool.index, listed)
        state.quotes[quote_id] = (worker.worker_id, *key)
        state.timers.set(TimerKind.QUOTE_EXPIRY, quote_id, state.now_ns + command.ttl_ns)
        self._jobs.arm(instrument.clearing_group_id)
        state.emit(QuoteSet(worker.worker_id, *key, command.prices_nanos))

    def withdraw_quote(self, command: WithdrawQuote) -> Reason:
        """Take a standing quote out; leases that it sold go on."""
        worker = self._state.workers.get(command.worker_id)
        if worker is None:
            return Reason.UNKNOWN_WORKER
        key = (command.instrument_id, command.pool)
        if key not in worker.quotes:
            return Reason.UNKNOWN_QUOTE
        self.end_quote(worker, key)
        return Reason.NONE

    def end_quote(self, worker: Worker, key: tuple[int, int]) -> None:
        """Take a quote out of its group and forget it."""
        state = self._state
        quote = worker.quotes.pop(key)
        instrument = state.instruments[quote.instrument_id]
        pool = worker.pools[quote.pool].slots
        state.groups[instrument.clearing_group_id].remove_quote(quote.instrument_id, pool.pool_id)
        state.timers.cancel(TimerKind.QUOTE_EXPIRY, quote.quote_id)
        del state.quotes[quote.quote_id]
        state.emit(QuoteEnded(worker.worker_id, *key))

    def end_quotes(self, worker: Worker) -> None:
        """Take all of a worker's quotes out."""
        for key in sorted(worker.quotes):
            self.end_quote(worker, key)

    def end_pool_quotes(self, worker: Worker, pool: int) -> None:
        """Take the quotes on one pool out."""
        for key in sorted(key for key in worker.quotes if key[1] == pool):
            self.end_quote(worker, key)

    def quote_due(self, quote_id: int) -> None:
        """Timer: a quote's time to live has passed."""
        worker_id, instrument_id, pool = self._state.quotes[quote_id]
        self.end_quote(self._state.workers[worker_id], (instrument_id, pool))

    def set_state(self, command: SetWorker) -> Reason:
        """Pause, drain or resume, by the owner or by an operator's account (account_id 0)."""
        worker = self._state.workers.get(command.worker_id)
        if worker is None:
            return Reason.UNKNOWN_WORKER
        if command.account_id and command.account_id != worker.account_id:
            return Reason.NOT_OWNER
        targets = {
            WorkerAction.RESUME: WorkerState.READY,
            WorkerAction.PAUSE: WorkerState.PAUSED,
            WorkerAction.DRAIN: WorkerState.DRAINING,
        }
        target = (
            targets.get(WorkerAction(command.action)) if command.action in range(1, 4) else None
        )
        if target is None:
            return Reason.FIELD_INVALID
        if worker.state not in PRESENT:
            return Reason.WORKER_LOST
        self.change(worker, target)
        return Reason.NONE

    def change(self, worker: Worker, target: WorkerState) -> None:
        """Enter a state; only a ready worker keeps its quotes."""
        worker.state = target
        if target != WorkerState.READY:
            self.end_quotes(worker)
        self._state.emit(StateChanged(worker.worker_id, worker.account_id, target))


def _prices_refusal(command: SetQuote, instrument: Instrument, pool: Pool) -> Reason:
    prices = command.prices_nanos
    if not 0 < len(prices) <= pool.slots.slots:
        return Reason.PRICES_INVALID
    if any(low > high for low, high in pairwise(prices)):
        return Reason.PRICES_INVALID
    if not 0 < command.ttl_ns <= QUOTE_TTL_MAX_NS:
        return Reason.FIELD_INVALID
    for price in prices:
        refusal = instrument.price_refusal(price)
        if refusal:
            return refusal
    return Reason.NONE

"""`Exchange.apply(commands) -> events`: the one state machine behind live, recovery and simulator.

Each command is validated whole before anything changes; a refused one emits `Refused` and leaves
the state as it was. Timers that are due fire when Advance comes, in (due time, kind, id) order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from librt.strings import read_i64_le
from mypy_extensions import i64

from exchange.core import commands as c
from exchange.core.events import EpochBegan, JobState
from exchange.core.jobs import Job, JobDesk, bid_id_of
from exchange.core.leases import LeaseDesk
from exchange.core.limits import OUTAGE_MAX_NS, RECOVERY_GRACE_NS, RULES_VERSION
from exchange.core.open_orders import OpenOrder, orders_state
from exchange.core.operator import OperatorDesk
from exchange.core.order_fills import FillDesk
from exchange.core.orders import OrderDesk
from exchange.core.placements import Placement, read_cancel
from exchange.core.reasons import Reason
from exchange.core.records import HEAD
from exchange.core.rules import LIVE_RULES, Rules
from exchange.core.state import State, array_head
from exchange.core.timers import TimerKind
from exchange.core.trading import BOOK_STATE, TradingDesk
from exchange.core.workers import WorkerDesk
from matching.packed import COMPILED
from matching.types import NoTradeReason, Side

if TYPE_CHECKING:
    from exchange.core.commands import Command
    from exchange.core.event_rows import EventRows
    from exchange.core.lease import Lease
    from exchange.core.workers import Worker
    from matching.auction import Clearing

_EXTENDED: Final = frozenset(
    {
        TimerKind.LEASE_STEP,
        TimerKind.LEASE_SETTLE,
        TimerKind.QUOTE_EXPIRY,
        TimerKind.AUCTION_END,
    }
)
"""Timers of workers, leases and auctions; a buyer's deadline is not the exchange's to move."""

_WAITING: Final = {
    NoTradeReason.NO_ASKS: Reason.NO_QUOTES,
    NoTradeReason.PRICE_BELOW_ASK: Reason.PRICE_BELOW_ASK,
    NoTradeReason.NO_FREE_SLOT: Reason.NO_FREE_SLOT,
    NoTradeReason.TOO_LATE: Reason.DEADLINE_INFEASIBLE,
    NoTradeReason.HALTED: Reason.INSTRUMENT_HALTED,
}

_WAITING_ORDER: Final = (
    Reason.NONE,
    Reason.PRICE_BELOW_ASK,
    Reason.NO_FREE_SLOT,
    Reason.NO_QUOTES,
    Reason.INSTRUMENT_HALTED,
    Reason.DEADLINE_INFEASIBLE,
)
"""A job with several legs waits for what its luckiest one waits for."""

_NONE: Final = Reason.NONE  # looking it up in its enum costs more than the command's end
_HEAD_BYTES: Final = HEAD.size
_PLACE_BYTES: Final = c.PlaceOrder.layout().whole.size
_PLACE_HEAD: Final = c.PlaceOrder.head_word()
_CANCEL_BYTES: Final = c.CancelOrder.layout().whole.size
_CANCEL_HEAD: Final = c.CancelOrder.head_word()
"""A record's head as one number, and the size of the whole."""

Depth = list[tuple[int, int, int]]
"""Levels, best first: (price, quantity, orders)."""


class Exchange(State):
    """The deterministic core. Drivers call `apply`; everyone else reads."""

    def __init__(self, rules: Rules = LIVE_RULES) -> None:
        super().__init__(rules)
        jobs, fills = JobDesk(self), FillDesk(self)
        trading = TradingDesk(self, fills)
        orders = OrderDesk(self, fills, trading)
        workers = WorkerDesk(self, jobs)
        leases = LeaseDesk(self, jobs, workers)
        operator = OperatorDesk(self, jobs, orders, trading, workers)
        self._handlers: dict[type, Callable[[Any], Reason]] = {
            c.Advance: self._advance,
            c.Recovered: self._recovered,
            c.OpenAccount: operator.open_account,
            c.AddKey: operator.add_key,
            c.RevokeKey: operator.revoke_key,
            c.Deposit: operator.move_money,
            c.Withdraw: operator.move_money,
            c.AddModel: operator.add_model,
            c.AddInstrument: operator.add_instrument,
            c.SetInstrumentState: operator.set_instrument_state,
            c.SetAccountHalted: operator.set_account_halted,
            c.SetProtections: trading.set_protections,
            c.SetAccountLimits: operator.set_account_limits,
            c.PlaceOrder: orders.place,
            c.CancelOrder: orders.cancel_order,
            c.ReplaceOrder: orders.replace,
            c.PlaceConditionalOrder: orders.place,
            c.PlaceMultiLegOrder: orders.place,
            c.MassCancel: orders.mass_cancel,
            c.EndOrderStream: orders.end_stream,
            c.SubmitJob: jobs.submit,
            c.CancelJob: leases.cancel_job,
            c.RegisterWorker: leases.register,
            c.SetQuote: workers.set_quote,
            c.WithdrawQuote: workers.withdraw_quote,
            c.AcceptLease: leases.accept,
            c.DeclineLease: leases.decline,
            c.StartLease: leases.start,
            c.SettleLease: leases.settle,
            c.WorkerLost: leases.lose,
            c.SetWorker: workers.set_state,
            c.LeaveWorker: leases.leave,
        }
        self._orders = orders
        self._placed = Placement()  # the order under way, where it comes as a record
        self._trading = trading
        self._uncross = leases.uncross_due
        self._timer_handlers: dict[TimerKind, Callable[[int], None]] = {
            TimerKind.LEASE_STEP: leases.step_due,
            TimerKind.LEASE_SETTLE: leases.settle_due,
            TimerKind.QUOTE_EXPIRY: workers.quote_due,
            TimerKind.ORDER_EXPIRY: orders.expiry_due,
            TimerKind.JOB_INFEASIBLE: jobs.infeasible_due,
            TimerKind.JOB_FORGET: jobs.forget_due,
        }

    def apply(self, commands: Iterable[Command]) -> EventRows:
        """Apply a commit group; the events of each command, at least one."""
        self.tape.begin()
        for command in commands:
            self._apply(command)
        return self.tape.end()

    def apply_records(self, records: bytes) -> EventRows:
        """As `apply` for the commands that these records are; compiled, faster.

        Raises:
            RecordError: unknown kind or damaged bytes; what came before them may be applied.
        """
        if not COMPILED:
            return self.apply(c.decode(records))
        self.tape.begin()
        self._carry_out(records)
        return self.tape.end()

    def _carry_out(self, records: bytes) -> None:
        """Apply records; plain orders and cancels, which most are, as they lie in the bytes."""
        placed, orders = self._placed, self._orders
        at: i64 = 0
        end: i64 = len(records)
        while at < end:
            head: i64 = read_i64_le(records, at) if at + _HEAD_BYTES <= end else 0
            if head == _PLACE_HEAD and at + _PLACE_BYTES <= end:
                self._begin_command()
                placed.read_record(records, at + _HEAD_BYTES)
                self._end_command(orders.take_in(placed), placed.account_id)
                at += _PLACE_BYTES
            elif head == _CANCEL_HEAD and at + _CANCEL_BYTES <= end:
                self._begin_command()
                account_id, order_id, client_order_id = read_cancel(records, at + _HEAD_BYTES)
                self._end_command(orders.cancel(account_id, order_id, client_order_id), account_id)
                at += _CANCEL_BYTES
            else:
                command, size = c.decode_first(records, at)
                self._apply(command)
                at += size

    def _apply(self, command: Command) -> None:
        self._begin_command()
        if type(command) is c.PlaceOrder:  # most are; a compiled method is called at once
            reason = self._orders.place(command)
        else:
            reason = self._handlers[type(command)](command)
        self._end_command(reason, getattr(command, "account_id", 0) if reason else 0)

    def _begin_command(self) -> None:
        self.sequence += 1
        self.tape.begin_command()

    def _end_command(self, reason: Reason, account_id: int) -> None:
        if reason is not _NONE:
            assert not self.tape.count, "a command was refused after it had acted"
            self.tape.refused(reason, account_id, self.retry_at_ns)
            self.retry_at_ns = 0

    def _advance(self, command: c.Advance) -> Reason:
        """Time goes on: timers that are due fire, late client ids are forgotten."""
        self.now_ns = max(self.now_ns, command.now_ns)
        # All fire at the new time: after a pause a lease must not expire in the past it was
        # granted in. Nothing that a timer arms is due at once, so this ends. Clearings come last:
        # what expired meanwhile must not trade.
        clearings, auctions = [], []
        while (key := self.timers.pop_due(self.now_ns)) is not None:
            if key[0] == TimerKind.UNCROSS:
                clearings.append(key[1])
            elif key[0] == TimerKind.AUCTION_END:
                auctions.append(key[1])
            else:
                self._timer_handlers[key[0]](key[1])
        if clearings:
            self._uncross(clearings)
        for instrument_id in auctions:
            self._trading.auction_due(instrument_id)
        self.client_ids.sweep(self.now_ns)
        self.order_ids.sweep(self.now_ns)
        if not self.tape.count:
            self.tape.advanced(self.now_ns)
        return Reason.NONE

    def _recovered(self, command: c.Recovered) -> Reason:
        """First after a restart, before time advances: nobody's timer ran while we were away."""
        if command.epoch <= self.epoch or command.outage_ns < 0:
            return Reason.FIELD_INVALID
        self.epoch = command.epoch
        more_ns = min(command.outage_ns, OUTAGE_MAX_NS) + RECOVERY_GRACE_NS
        self.timers.extend(_EXTENDED, more_ns)
        for lease in self.leases.values():
            if lease.is_open:
                lease.accept_by_ns += more_ns
                lease.stop_by_ns += more_ns
                lease.settle_by_ns += more_ns
        self._trading.extend_calls(more_ns)
        self.grace_until_ns = self.now_ns + more_ns
        self.emit(EpochBegan(command.epoch, command.outage_ns))
        self._orders.end_streams()
        return Reason.NONE

    # Reading

    def next_timer_ns(self) -> int | None:
        """The earliest time at which Advance would do something, or None."""
        return self.timers.next_ns()

    def depth(self, instrument_id: int, levels: int) -> tuple[Depth, Depth]:
        """(bids, asks) of an instrument: MFLOP on a continuous book, slots and jobs on a batch."""
        instrument = self.instruments[instrument_id]
        if instrument.clearing_group_id:
            group = self.groups[instrument.clearing_group_id]
            return group.depth(instrument_id, self.now_ns, levels)
        book = self.books[instrument_id]
        return book.depth(Side.BID, levels), book.depth(Side.ASK, levels)

    def listen(self, instrument_id: int) -> None:
        """Keep a continuous book's market data (`matching.packed`) from now on, for `take_rows`."""
        self.heard.setdefault(instrument_id, [])

    def unlisten(self, instrument_id: int) -> None:
        """Nobody takes a book's market data any more."""
        self.heard.pop(instrument_id, None)

    def take_rows(self, instrument_id: int) -> bytes:
        """What a book that is listened to has done since the last call: its packed event rows."""
        heard = self.heard[instrument_id]
        rows = b"".join(heard)
        heard.clear()
        return rows

    def indicative(self, instrument_id: int) -> Clearing | None:
        """How the call auction of a continuous book would end now; None: nothing would trade."""
        return self._trading.indicative(self.instruments[instrument_id])

    def why_waiting(self, job_id: int) -> Reason:
        """Why a queued job does not trade now; NONE where it may at the next batch."""
        reasons = self.why_legs_wait(job_id).values()
        return min(reasons, key=_WAITING_ORDER.index, default=Reason.NONE)

    def why_legs_wait(self, job_id: int) -> dict[int, Reason]:
        """The same for each leg of a queued job that may still trade; a job without legs has 0."""
        job = self.jobs[job_id]
        if job.state != JobState.QUEUED:
            return {}
        found = {}
        for leg, plan in job.bidding.items():
            why = self.groups[plan.group_id].why_not(bid_id_of(job_id, leg), self.now_ns)
            found[leg] = _WAITING[why.reason] if why else Reason.NONE
        return found

    def jobs_of(self, account_id: int) -> list[int]:
        """Ids of an account's remembered jobs, newest first. O(jobs of the account)."""
        return list(reversed(self.accounts[account_id].job_ids))

    def open_orders_of(self, account_id: int) -> list[OpenOrder]:
        """An account's open orders, in no order that means anything. O(orders of the account)."""
        return list(self.accounts[account_id].orders)

    def order_by_client_id(self, account_id: int, client_order_id: bytes) -> int | None:
        """The order that a remembered client id led to, open or not; None where unknown."""
        return self.accounts[account_id].result_of(c.PLACEMENTS, client_order_id)

    def imbalance_nanos(self) -> int:
        """Sum over all accounts: zero."""
        return self.ledger.imbalance()

    def overspend_nanos(self) -> int:
        """Money billed above what any job may cost, and overdrafts: zero."""
        over = sum(max(0, job.paid_nanos - job.escrow_nanos) for job in self.jobs.values())
        return over + self.ledger.overdrawn()

    def check(self) -> None:
        """Every invariant of every structure. O(everything)."""
        self.ledger.check()
        self.timers.check()
        self._check_books()
        self.legs.check()
        self.job_legs.check()
        for group in self.groups.values():
            group.check()
        self._check_counts()
        self._check_leases()

    def _check_books(self) -> None:
        for instrument_id, book in self.books.items():
            book.check()
            instrument = self.instruments[instrument_id]
            assert book.state_now == BOOK_STATE[instrument.state]
            due_ns = self.timers.due_ns(TimerKind.AUCTION_END, instrument_id)
            assert due_ns == (instrument.call.ends_ns if instrument.call else None)
            if instrument.guards is not None:
                instrument.guards.check()
            if instrument.call is not None:
                assert instrument.state == c.TradingState.AUCTION
                instrument.call.check()

    def _check_counts(self) -> None:
        jobs_of: dict[int, list[Job]] = {account_id: [] for account_id in self.accounts}
        for job in self.jobs.values():
            jobs_of[job.account_id].append(job)
        for account_id, account in self.accounts.items():
            mine = jobs_of[account_id]
            assert list(account.job_ids) == [j.job_id for j in mine]
            jobs = [j for j in mine if j.is_open]
            assert account.open_jobs == len(jobs)
            assert account.queued_bytes == sum(j.terms.payload_bytes for j in jobs)
            for place, order in enumerate(account.orders):
                assert order.place == place, "an order stands elsewhere"
                assert order.account is account
                assert self.orders[order.order_id] is order
        assert len(self.orders) == sum(a.open_orders for a in self.accounts.values())
        self.orders.check()
        kept = [(job.account_id, job.escrow) for job in self.jobs.values() if job.is_open]
        exposure: dict[tuple[int, int, int], int] = {}
        for order in self.orders.values():
            assert (order.hold is not None) == (order.side == Side.BID)
            if order.hold is not None:
                kept.append((order.account_id, order.hold))
            named = self.order_by_client_id(order.account_id, order.client_order_id)
            assert named == order.order_id
            assert bool(order.legs) == (self.legs.order(order.order_id) is not None)
            open_mflop = [(leg.instrument_id, leg.quantity) for leg in order.legs]
            for instrument_id, leaves in open_mflop or [(order.instrument_id, order.leaves_mflop)]:
                assert leaves > 0
                key = (order.account_id, instrument_id, int(order.side))
                exposure[key] = exposure.get(key, 0) + leaves
        for account_id, account in self.accounts.items():
            account.client_ids.check()
            if account.limits is not None:
                account.limits.check()
            for (instrument_id, side), left in account.exposure.items():
                assert exposure.pop((account_id, instrument_id, side)) == left
        assert not exposure
        self.ledger.check_kept(kept)
        self._check_jobs()

    def _check_jobs(self) -> None:
        """A queued job bids by every leg that may still trade; an open one holds its dearest."""
        bids = 0
        held: dict[int, int] = {}
        for job in self.jobs.values():
            queued = job.state == JobState.QUEUED
            bids += len(job.bidding) if queued else 0
            for leg, plan in job.bidding.items():
                bid = self.groups[plan.group_id].bid(bid_id_of(job.job_id, leg))
                assert (bid is not None) == queued
            order = self.job_legs.order(job.job_id)
            assert (order is not None) == (queued and bool(job.terms.legs))
            assert job.paid_nanos <= job.escrow_nanos, "a job paid more than its worst case"
            if job.is_open:
                assert job.escrow_nanos == job.dearest_nanos == job.escrow.amount
                held[job.account_id] = held.get(job.account_id, 0) + job.escrow_nanos
        assert bids == sum(len(group.bids()) for group in self.groups.values())
        for account_id, account in self.accounts.items():
            if account.kind == c.AccountKind.REAL:
                assert self.ledger.pending(account_id) == held.get(account_id, 0)

    def _check_leases(self) -> None:
        in_use: dict[int, int] = {}
        for lease in self.leases.values():
            job = self.jobs[lease.job_id]
            current = job.lease_id == lease.lease_id
            leased = job.state in (JobState.LEASED, JobState.RUNNING)
            assert lease.is_open == (current and leased)
            assert lease.is_open == (lease.lease_id in self.workers[lease.worker_id].lease_ids)
            if lease.is_open:
                in_use[lease.pool_id] = in_use.get(lease.pool_id, 0) + 1
        for pool_id, pool in self.pools.items():
            assert pool.slots.in_use == in_use.get(pool_id, 0), "a slot is lost or sold twice"

    def state_tree(self) -> tuple[object, ...]:
        """The whole state in canonical form: equal for equal exchanges, whatever their past.

        A snapshot is these bytes and the digest is taken over them: neither can lack what the other
        has. `exchange.core.snapshot` makes an exchange of it again.
        """
        rows = [[one.state_tuple() for one in part] for part in self._rows()]
        return (*self._parts(), *rows)

    def _parts(self) -> tuple[object, ...]:
        """The canonical state without the rows."""
        return (
            RULES_VERSION,
            self.now_ns,
            self.epoch,
            self.sequence,
            self.grace_until_ns,
            self.jobs_settled,
            self.jobs_unsettled,
            self.counters.state(),
            self.ledger.state(),
            self.timers.state(),
            self.client_ids.state(),
            self.order_ids.state(),
            [self.accounts[i].state() for i in sorted(self.accounts)],
            sorted((key_hash, *key) for key_hash, key in self.keys.items()),
            [(i, self.models[i].card_bytes) for i in sorted(self.models)],
            [self.instruments[i].state_tuple() for i in sorted(self.instruments)],
            [(i, self.books[i].image()) for i in sorted(self.books)],
            self.legs.state(),
            self.job_legs.state(),
            [(i, self.groups[i].state()) for i in sorted(self.groups)],
            orders_state(self.orders),
        )

    def _rows(self) -> tuple[list[Job] | list[Lease] | list[Worker], ...]:
        """What has a row each in the canonical state, by id."""
        return (
            [self.jobs[i] for i in sorted(self.jobs)],
            [self.leases[i] for i in sorted(self.leases)],
            [self.workers[i] for i in sorted(self.workers)],
        )

    def size(self) -> int:
        """About how many things the state holds: what looking at all of it costs. O(1)."""
        held = len(self.accounts) + len(self.orders) + len(self.jobs) + len(self.workers)
        return held + len(self.client_ids) + len(self.order_ids)

    def dump(self) -> bytes:
        """The canonical state as bytes (MessagePack), under the live rules alone. O(everything).

        A state does not say its rules, so one under others would be taken for a live one.
        """
        assert self.rules == LIVE_RULES, "a state under other rules must not become a snapshot"
        return msgspec.msgpack.encode(self.state_tree())

    def digest(self) -> bytes:
        """SHA-256 of what `dump` gives, 32 bytes. O(everything).

        Jobs, leases and workers are taken row by row: of millions, the bytes need not be in memory.
        """
        encode = msgspec.msgpack.Encoder().encode
        parts, rows = self._parts(), self._rows()
        sha = hashlib.sha256(array_head(len(parts) + len(rows)))
        for part in parts:
            sha.update(encode(part))
        for kind in rows:
            sha.update(array_head(len(kind)))
            for one in kind:
                sha.update(encode(one.state_tuple()))
        return sha.digest()

"""From events to rows: what each thing that happened changes in the tables. Pure but for `load`.

It sees every command with its events, in the order of the journal, and gathers rows until `write`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from exchange.core import events as e
from exchange.core.commands import (
    PlaceConditionalOrder,
    PlaceMultiLegOrder,
    PlaceOrder,
    SettleLease,
    SubmitJob,
    TradingState,
)
from exchange.core.jobs import bid_id_of
from exchange.core.limits import FLOPS_PER_MFLOP
from exchange.core.planning import LEG_NUMBERS as JOB_LEG_NUMBERS
from exchange.readmodel import schema
from exchange.readmodel.candles import HOUR_NS, Candles, Hour, index_point
from exchange.readmodel.changes import ChangingRows, NewRows, ReplacedRows
from exchange.readmodel.order_rows import OrderRows
from exchange.readmodel.queries import trade_number_at
from exchange.readmodel.schema import plain_text
from matching.types import Side

if TYPE_CHECKING:
    from exchange.core.commands import Command
    from exchange.readmodel.best_prices import BestPrices
    from exchange.readmodel.database import Database

LEG_NUMBERS: Final = 3
"""Of an order's leg in its command, and the first of a job's: instrument, price, quantity."""

NEW: Final = int(e.OrderState.NEW)
BID: Final = int(Side.BID)


class Projector:
    """Turns events into rows of the read model."""

    def __init__(self) -> None:
        self.entries = 0  # ledger entries so far
        self.trades = 0
        self._accounts = ChangingRows(schema.ACCOUNTS)
        self._models = NewRows(schema.MODELS)
        self._instruments = ChangingRows(schema.INSTRUMENTS)
        self._workers = ChangingRows(schema.WORKERS)
        self._orders = OrderRows()
        self._legs = NewRows(schema.ORDER_LEGS)
        self._trades = NewRows(schema.TRADES)
        self._candle_rows = ReplacedRows(schema.CANDLES)
        self._index = NewRows(schema.HOURLY_INDEX)
        self._best_prices = NewRows(schema.BEST_PRICES)
        self._entries = NewRows(schema.LEDGER_ENTRIES)
        self._jobs = ChangingRows(schema.JOBS)
        self._job_legs = ChangingRows(schema.JOB_LEGS)
        self._job_endings = NewRows(schema.JOB_ENDINGS)
        self._leases = ChangingRows(schema.LEASES)
        self._receipts = NewRows(schema.RECEIPTS, repeats=True)
        self._rows = (
            self._accounts, self._models, self._instruments, self._workers, self._orders,
            self._legs, self._trades, self._candle_rows, self._index, self._best_prices,
            self._entries, self._jobs, self._job_legs, self._job_endings, self._leases,
            self._receipts,
        )  # fmt: skip
        self._known_workers: set[int] = set()
        self._last_lease_id = 0
        self._moved: dict[int, int] = {}  # what accounts have gained, or lost, since `write`
        self._candles = Candles()
        self._hours: dict[int, Hour] = {}  # of the present hour, by instrument
        self._hour_ns = 0
        self._sequence = 0
        self._now_ns = 0
        self._handlers: dict[type, Callable[[Any, Any], None]] = {
            e.AccountOpened: self._account_opened,
            e.ModelAdded: self._model_added,
            e.InstrumentAdded: self._instrument_added,
            e.InstrumentStateChanged: self._instrument_changed,
            e.WorkerRegistered: self._worker_registered,
            e.WorkerStateChanged: self._worker_changed,
            e.Posted: self._posted,
            e.OrderAccepted: self._order_accepted,
            e.OrderFilled: self._order_filled,
            e.OrderReplaced: self._order_replaced,
            e.OrderClosed: self._order_closed,
            e.JobQueued: self._job_queued,
            e.JobLegDropped: self._job_leg_dropped,
            e.JobEnded: self._job_ended,
            e.LeaseOffered: self._lease_offered,
            e.LeaseAccepted: self._lease_accepted,
            e.LeaseStarted: self._lease_started,
            e.LeaseEnded: self._lease_ended,
            e.ReceiptSettled: self._receipt_settled,
            e.ReceiptRefused: self._receipt_refused,
        }

    @property
    def rows(self) -> int:
        """Rows that wait to be written."""
        return sum(len(rows) for rows in self._rows)

    def take(
        self,
        first_sequence: int,
        now_ns: int,
        commands: Sequence[Command],
        events: Iterable[Sequence[e.AnyEvent]],
    ) -> None:
        """One commit group: its commands, and the list of events of each.

        Args:
            first_sequence: Journal sequence of the first command.
            now_ns: Journal time.
            commands: In order.
            events: As many lists.
        """
        self._now_ns = now_ns
        if now_ns - self._hour_ns >= HOUR_NS:
            self._close_hour(now_ns)
        handlers = self._handlers
        for sequence, (command, told) in enumerate(
            zip(commands, events, strict=True), first_sequence
        ):
            self._sequence = sequence
            for event in told:
                handler = handlers.get(type(event))
                if handler is not None:
                    handler(event, command)

    def take_best_prices(self, instrument_id: int, now_ns: int, prices: BestPrices) -> None:
        """An instrument's best prices are others from this time on."""
        self._best_prices.insert(instrument_id, now_ns, *prices)

    def write(self, database: Database) -> None:
        """Write what was gathered; inside a transaction of the caller's."""
        for row in self._candles.fold():
            self._candle_rows.replace(*row)
        for account_id, amount in self._moved.items():
            self._accounts.add(account_id, "balance_nanos", amount)
        self._moved.clear()
        for rows in self._rows:
            rows.write(database)

    def load(self, database: Database, now_ns: int, entries: int, trades: int) -> None:
        """Go on from what the tables hold: the latest candles, and the trades of this hour.

        Args:
            database: Up to date to the sequence after which `take` goes on.
            now_ns: Journal time there.
            entries: Ledger entries in it.
            trades: Trades in it.
        """
        self.entries, self.trades = entries, trades
        self._known_workers = {row[0] for row in database.query("SELECT worker_id FROM workers")}
        found = database.query("SELECT COALESCE(MAX(lease_id), 0) FROM leases")
        self._last_lease_id = found[0][0]
        latest = (
            "SELECT c.* FROM candles c JOIN (SELECT instrument_id, width_s, MAX(start_time_ns) AS "
            "start_time_ns FROM candles GROUP BY instrument_id, width_s) m ON "
            "c.instrument_id = m.instrument_id AND c.width_s = m.width_s "
            "AND c.start_time_ns = m.start_time_ns"
        )
        for row in database.query(latest):
            self._candles.load(row)
        self._hour_ns = now_ns - now_ns % HOUR_NS
        trades_now = (
            "SELECT instrument_id, price_nanos, quantity_mflop FROM trades "
            "WHERE number >= ? AND buyer_account_id <> seller_account_id"
        )
        first = trade_number_at(database, self._hour_ns)
        for instrument_id, price, quantity in database.query(trades_now, (first,)):
            self._hours.setdefault(instrument_id, Hour()).trade(price, quantity)

    # Accounts, instruments, workers

    def _account_opened(self, event: e.AccountOpened, _: object) -> None:
        self._accounts.insert(event.account_id, event.kind, plain_text(event.name), 0, self._now_ns)

    def _model_added(self, event: e.ModelAdded, _: object) -> None:
        self._models.insert(event.model_id, plain_text(event.name))

    def _instrument_added(self, event: e.InstrumentAdded, _: object) -> None:
        name = plain_text(event.name)
        self._instruments.insert(event.instrument_id, name, int(TradingState.OPEN))

    def _instrument_changed(self, event: e.InstrumentStateChanged, _: object) -> None:
        self._instruments.put(event.instrument_id, state=int(event.state))

    def _worker_registered(self, event: e.WorkerRegistered, _: object) -> None:
        state = int(e.WorkerState.READY)
        if event.worker_id in self._known_workers:
            self._workers.put(event.worker_id, state=state)
            return
        self._known_workers.add(event.worker_id)
        name = plain_text(event.name)
        self._workers.insert(event.worker_id, event.account_id, name, state)

    def _worker_changed(self, event: e.WorkerStateChanged, _: object) -> None:
        self._workers.put(event.worker_id, state=int(event.state))

    def _posted(self, event: e.Posted, _: object) -> None:
        self.entries += 1
        debit, credit, amount = event.debit_account_id, event.credit_account_id, event.amount_nanos
        self._entries.insert(
            self.entries, self._sequence, int(event.kind), debit, credit, amount,
            event.reference_id, self._now_ns,
        )  # fmt: skip
        moved = self._moved
        moved[debit] = moved.get(debit, 0) - amount
        moved[credit] = moved.get(credit, 0) + amount

    # Orders

    def _order_accepted(self, event: e.OrderAccepted, command: PlaceOrder) -> None:
        stop = command.stop_price_nanos if isinstance(command, PlaceConditionalOrder) else 0
        quantity = event.quantity_mflop
        self._orders.insert([
            event.order_id, event.account_id, event.client_order_id, event.instrument_id,
            int(event.side), command.order_type, command.time_in_force, event.price_nanos,
            quantity, quantity, 0, stop, NEW, 0, self._now_ns, 0, self._sequence,
        ])  # fmt: skip
        if isinstance(command, PlaceMultiLegOrder):
            numbers = command.legs
            for leg, at in enumerate(range(0, len(numbers), LEG_NUMBERS)):
                self._legs.insert(event.order_id, leg, *numbers[at : at + LEG_NUMBERS])

    def _order_filled(self, event: e.OrderFilled, _: object) -> None:
        quantity, now_ns, sequence = event.quantity_mflop, self._now_ns, self._sequence
        maker, taker = event.maker_order_id, event.taker_order_id
        self._orders.fill(maker, quantity, event.maker_leaves_mflop, now_ns, sequence)
        self._orders.fill(taker, quantity, event.taker_leaves_mflop, now_ns, sequence)
        side = int(event.taker_side)
        buyer, seller = event.taker_account_id, event.maker_account_id
        if side != BID:
            buyer, seller = seller, buyer
        self._trade(
            event.instrument_id, event.trade_id, event.price_nanos, quantity, side, buyer, seller,
            maker, taker, 0,
        )  # fmt: skip

    def _order_replaced(self, event: e.OrderReplaced, _: object) -> None:
        self._orders.replace(
            event.order_id, event.price_nanos, event.quantity_mflop, event.leaves_mflop,
            self._sequence,
        )  # fmt: skip

    def _order_closed(self, event: e.OrderClosed, _: object) -> None:
        self._orders.close(
            event.order_id, int(event.state), int(event.reason), event.leaves_mflop, self._now_ns,
            self._sequence,
        )  # fmt: skip

    # Trades

    def _trade(
        self, instrument_id: int, trade_id: int, price: int, quantity: int, taker_side: int,
        buyer: int, seller: int, maker_order_id: int, taker_order_id: int, job_id: int,
    ) -> None:  # fmt: skip
        now_ns = self._now_ns
        self.trades += 1
        self._trades.insert(
            self.trades, instrument_id, trade_id, price, quantity, now_ns, taker_side,
            self._sequence, buyer, seller, maker_order_id, taker_order_id, job_id,
        )  # fmt: skip
        for row in self._candles.trade(instrument_id, now_ns, price, quantity):
            self._candle_rows.replace(*row)
        if buyer != seller:
            hour = self._hours.get(instrument_id)
            if hour is None:
                hour = self._hours[instrument_id] = Hour()
            hour.trade(price, quantity)

    def _close_hour(self, now_ns: int) -> None:
        """The hour is over: its index is what its trades came to."""
        for instrument_id, hour in sorted(self._hours.items()):
            point = index_point(hour.volumes)
            self._index.insert(instrument_id, self._hour_ns, *point, hour.trades)
        self._hours.clear()
        self._hour_ns = now_ns - now_ns % HOUR_NS

    # Jobs, leases, receipts

    def _job_queued(self, event: e.JobQueued, command: object) -> None:
        if event.attempt > 1:
            self._jobs.put(
                event.job_id,
                attempt=event.attempt,
                state=int(e.JobState.QUEUED),
                sequence=self._sequence,
            )
            return
        assert isinstance(command, SubmitJob)
        tier = plain_text(command.tier)
        self._jobs.insert(
            event.job_id, event.account_id, event.client_job_id, tier, event.model_id,
            command.instrument_id, event.quantity_mflop, command.value_nanos, command.limit_nanos,
            command.max_cost_nanos, event.escrow_nanos, event.density_nanos, event.deadline_ns,
            command.payload_bytes, command.output_tokens_max, 0, 1, int(e.JobState.QUEUED),
            0, 0, 0, 0, 0, 0, 0, self._now_ns, 0, self._sequence,
        )  # fmt: skip

        legs = command.legs
        for leg, at in enumerate(range(0, len(legs), JOB_LEG_NUMBERS)):
            instrument_id, limit, quantity = legs[at : at + LEG_NUMBERS]
            self._job_legs.insert(
                bid_id_of(event.job_id, leg), event.job_id, leg, instrument_id, limit, quantity, 0
            )

    def _job_leg_dropped(self, event: e.JobLegDropped, _: object) -> None:
        self._job_legs.put(bid_id_of(event.job_id, event.leg), reason=int(event.reason))
        self._jobs.put(event.job_id, escrow_nanos=event.escrow_nanos, sequence=self._sequence)

    def _job_ended(self, event: e.JobEnded, command: object) -> None:
        mflop, rest = divmod(event.flops, FLOPS_PER_MFLOP)
        tokens = command.tokens_received if isinstance(command, SettleLease) else 0
        self._job_endings.insert(event.account_id, self._sequence, event.job_id)
        self._jobs.put(
            event.job_id,
            state=int(event.state),
            reason=int(event.reason),
            fault=int(event.fault),
            cause=int(event.cause),
            flops_mflop=mflop,
            flops_rest=rest,
            paid_nanos=event.paid_nanos,
            output_tokens=tokens,
            end_time_ns=self._now_ns,
            sequence=self._sequence,
        )

    def _lease_offered(self, event: e.LeaseOffered, _: object) -> None:
        self._last_lease_id = event.lease_id
        self._leases.insert(
            event.lease_id, event.job_id, event.attempt, event.instrument_id, event.worker_id,
            event.buyer_account_id, event.seller_account_id, event.quantity_mflop,
            event.price_nanos, event.bid_nanos, event.ask_nanos, int(e.LeaseState.OFFERED),
            0, 0, 0, 0, 0, self._now_ns, 0, self._sequence,
        )  # fmt: skip
        self._jobs.put(
            event.job_id,
            state=int(e.JobState.LEASED),
            lease_id=event.lease_id,
            sequence=self._sequence,
        )
        self._trade(
            event.instrument_id, event.lease_id, event.price_nanos, event.quantity_mflop, 0,
            event.buyer_account_id, event.seller_account_id, 0, 0, event.job_id,
        )  # fmt: skip

    def _lease_accepted(self, event: e.LeaseAccepted, _: object) -> None:
        self._leases.put(event.lease_id, state=int(e.LeaseState.ACCEPTED), sequence=self._sequence)

    def _lease_started(self, event: e.LeaseStarted, _: object) -> None:
        self._leases.put(event.lease_id, state=int(e.LeaseState.RUNNING), sequence=self._sequence)
        self._jobs.put(event.job_id, state=int(e.JobState.RUNNING), sequence=self._sequence)

    def _lease_ended(self, event: e.LeaseEnded, _: object) -> None:
        mflop, rest = divmod(event.flops, FLOPS_PER_MFLOP)
        self._leases.put(
            event.lease_id,
            state=int(event.state),
            fault=int(event.fault),
            reason=int(event.reason),
            flops_mflop=mflop,
            flops_rest=rest,
            billed_nanos=event.billed_nanos,
            end_time_ns=self._now_ns,
            sequence=self._sequence,
        )

    def _receipt_settled(self, event: e.ReceiptSettled, command: object) -> None:
        mflop, rest = divmod(event.flops, FLOPS_PER_MFLOP)
        tokens = command.tokens_received if isinstance(command, SettleLease) else 0
        self._receipts.insert(
            event.lease_id, event.receipt_digest, event.worker_id, 1, 0, int(event.cause),
            mflop, rest, event.price_nanos, event.billed_nanos, tokens, self._now_ns,
            self._sequence,
        )  # fmt: skip

    def _receipt_refused(self, event: e.ReceiptRefused, command: object) -> None:
        if event.lease_id > self._last_lease_id:
            return  # for a lease that never was: any number that its field can hold
        cause = command.cause if isinstance(command, SettleLease) else 0
        self._receipts.insert(
            event.lease_id, event.receipt_digest, event.worker_id, 0, int(event.reason), cause,
            0, 0, 0, 0, 0, self._now_ns, self._sequence,
        )  # fmt: skip

"""A Hypothesis state machine over the whole core, with a plain ledger beside it."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from msgspec import structs

from exchange.core import commands as c
from exchange.core.events import AnyEvent, Refused
from exchange.core.limits import NS_PER_MS, NS_PER_S
from exchange.core.reasons import Reason
from tests.exchange.core.ledger_model import LedgerModel
from tests.exchange.core.scenario import ASK, Market, Offer, unchanged_but_for_sequence
from tests.exchange.core.sizes import MACHINE_EXAMPLES, MACHINE_STEPS

BUYERS = st.sampled_from(("buyer", "other", "seller"))
TRADERS = st.sampled_from(("ann", "bob"))
PRICES = st.integers(95, 105)
QUANTITIES = st.sampled_from((1, 999, 1_000, 10**6, 10**15))
DURATIONS = st.sampled_from(
    (1, NS_PER_MS, 10 * NS_PER_MS, NS_PER_S, 5 * NS_PER_S, 90_000 * NS_PER_S)
)


class ExchangeMachine(RuleBasedStateMachine):
    """Few accounts, one worker, one class, one paper book: much happens to each."""

    def __init__(self) -> None:
        super().__init__()
        self.market = Market()
        self.model = LedgerModel(self.market.exchange)
        self.offers: list[Offer] = []
        self.last: c.Command = c.Advance(0)

    def apply(self, command: c.Command) -> list[AnyEvent]:
        before = self.market.exchange.state_tree()
        events = self.market.events(command)
        if isinstance(events[0], Refused):
            assert unchanged_but_for_sequence(before, self.market.exchange.state_tree())
        self.model.saw(command, events)
        self.offers += self.market.offers(events)
        self.last = command
        return events

    def held(self) -> list[Offer]:
        leases = self.market.exchange.leases
        return [o for o in self.offers if o.lease_id in leases and leases[o.lease_id].is_open]

    @initialize(funds=st.sampled_from((10**6, 10**9)))
    def fund_the_seller(self, funds: int) -> None:
        self.apply(c.Deposit(self.market.seller, self.market.new_id(), funds))

    @rule(by_ns=DURATIONS)
    def wait(self, by_ns: int) -> None:
        self.apply(c.Advance(self.market.now_ns + by_ns))

    @rule()
    def clear(self) -> None:
        due_ns = self.market.exchange.next_timer_ns()
        if due_ns is not None:
            self.apply(c.Advance(due_ns))

    @rule(
        buyer=BUYERS,
        quantity=st.sampled_from((5, 29, 1_000)),
        value=st.sampled_from((10**3, 10**6, 10**8)),
        limited=st.booleans(),
        seconds=st.integers(1, 10),
    )
    def submit(self, buyer: str, quantity: int, value: int, limited: bool, seconds: int) -> None:
        self.apply(
            self.market.job(
                account_id=getattr(self.market, buyer),
                quantity_mflop=quantity,
                value_nanos=0 if limited else value,
                limit_nanos=ASK if limited else 0,
                deadline_within_ns=seconds * NS_PER_S,
            )
        )

    @precondition(lambda self: self.market.exchange.jobs)
    @rule(data=st.data(), by_operator=st.booleans())
    def cancel_job(self, data: st.DataObject, by_operator: bool) -> None:
        job = self.market.exchange.jobs[data.draw(st.sampled_from(list(self.market.exchange.jobs)))]
        self.apply(c.CancelJob(0 if by_operator else job.account_id, job.job_id))

    @precondition(lambda self: self.held())
    @rule(data=st.data())
    def work(self, data: st.DataObject) -> None:
        """The next honest step of a lease."""
        offer = data.draw(st.sampled_from(self.held()))
        lease = self.market.exchange.leases[offer.lease_id]
        if lease.state == 1:
            self.apply(c.AcceptLease(*offer.token))
        elif lease.state == 2:
            self.apply(c.StartLease(*offer.token))
        else:
            cause = c.StopCause.CANCELLED if lease.cancelling else c.StopCause.FINISHED
            self.apply(offer.receipt(10, data.draw(st.integers(0, 23)), cause=cause))

    @precondition(lambda self: self.offers)
    @rule(data=st.data(), prompt=st.integers(0, 60), steps=st.integers(0, 40))
    def send_any_receipt(self, data: st.DataObject, prompt: int, steps: int) -> None:
        offer = data.draw(st.sampled_from(self.offers))
        if offer.job_id in self.market.exchange.jobs:
            cause = data.draw(st.integers(0, 7))
            self.apply(offer.receipt(prompt, steps if prompt else 0, cause=cause))

    @precondition(lambda self: self.held())
    @rule(data=st.data(), reason=st.sampled_from((Reason.WORKER_BUSY, Reason.WORKER_LOST)))
    def decline(self, data: st.DataObject, reason: Reason) -> None:
        self.apply(c.DeclineLease(*data.draw(st.sampled_from(self.held())).token, reason))

    @rule(slots=st.integers(1, 3), resume=st.integers(0, 1))
    def register(self, slots: int, resume: int) -> None:
        market = self.market
        self.apply(market.registration(market.seller, slots=(slots,), resume=resume))

    @rule(low=st.sampled_from((1, ASK // 2, ASK, 10**9)), levels=st.integers(1, 3))
    def quote(self, low: int, levels: int) -> None:
        self.apply(self.market.quoting(prices_nanos=(low,) * levels))

    @rule(goes=st.sampled_from((c.WorkerLost, c.LeaveWorker)))
    def lose(self, goes: type[c.WorkerLost] | type[c.LeaveWorker]) -> None:
        self.apply(goes(self.market.worker))

    @rule(outage_ns=DURATIONS)
    def restart(self, outage_ns: int) -> None:
        self.apply(c.Recovered(self.market.exchange.epoch + 1, outage_ns))

    @rule(
        trader=TRADERS,
        side=st.integers(1, 2),
        tif=st.integers(1, 4),
        mode=st.integers(1, 4),
        price=PRICES,
        quantity=QUANTITIES,
    )
    def place(self, trader: str, side: int, tif: int, mode: int, price: int, quantity: int) -> None:
        self.apply(
            self.market.order(
                account_id=getattr(self.market, trader),
                side=side,
                time_in_force=tif,
                self_trade=mode,
                price_nanos=price,
                quantity_mflop=quantity,
                expire_time_ns=self.market.now_ns + NS_PER_S,
            )
        )

    @precondition(lambda self: self.market.exchange.orders)
    @rule(data=st.data(), price=PRICES, quantity=QUANTITIES, cancel=st.booleans())
    def change(self, data: st.DataObject, price: int, quantity: int, cancel: bool) -> None:
        orders = self.market.exchange.orders
        order = orders[data.draw(st.sampled_from(sorted(orders)))]
        if cancel:
            self.apply(c.CancelOrder(order.account_id, order.order_id, bytes(16)))
        else:
            self.apply(c.ReplaceOrder(order.account_id, order.order_id, price, quantity))

    @rule(data=st.data(), trader=TRADERS, side=st.integers(1, 2), price=PRICES)
    def place_with_a_condition(
        self, data: st.DataObject, trader: str, side: int, price: int
    ) -> None:
        conditions: tuple[dict[str, int], ...] = (
            {"stop_price_nanos": price, "order_type": 3},
            {"all_or_none": 1},
            {"hidden": 1},
            {"post_only": 2},
            {"min_quantity_mflop": 7},
        )
        asked = data.draw(st.sampled_from(conditions))
        account_id = getattr(self.market, trader)
        fields = {"account_id": account_id, "side": side, "price_nanos": price, **asked}
        self.apply(self.market.conditional(**fields))

    @rule(trader=TRADERS, prices=st.lists(PRICES, min_size=1, max_size=2))
    def place_legs(self, trader: str, prices: list[int]) -> None:
        """One leg in each paper book: at most one of them fills, and only that one is paid."""
        books = list(self.market.exchange.books)
        legs = [n for leg in zip(books, prices, strict=False) for n in (*leg, 1_000)]
        plain = self.market.order(
            account_id=getattr(self.market, trader), instrument_id=0, price_nanos=0
        )
        fields = {**structs.asdict(plain), "quantity_mflop": 0}
        self.apply(c.PlaceMultiLegOrder(**fields, legs=tuple(legs)))

    @rule(trader=TRADERS, side=st.integers(0, 2))
    def cancel_all(self, trader: str, side: int) -> None:
        account_id = getattr(self.market, trader)
        self.apply(c.MassCancel(account_id, 0, side))
        if not side:
            assert self.market.exchange.ledger.pending(account_id) == 0

    @rule(state=st.sampled_from((1, 1, 2, 4)), call_ns=st.sampled_from((0, NS_PER_MS)))
    def set_the_books_state(self, state: int, call_ns: int) -> None:
        self.apply(c.SetInstrumentState(self.market.paper, state, call_ns if state == 4 else 0))

    @rule(account=st.sampled_from(("buyer", "ann")), halted=st.integers(0, 1))
    def halt(self, account: str, halted: int) -> None:
        self.apply(c.SetAccountHalted(getattr(self.market, account), halted))

    @rule()
    def repeat_the_last_command(self) -> None:
        self.apply(self.last)

    @rule(kind=st.sampled_from((c.Deposit, c.Withdraw)), amount=st.integers(1, 10**7))
    def move_money(self, kind: type[c.Deposit] | type[c.Withdraw], amount: int) -> None:
        self.apply(kind(self.market.buyer, self.market.new_id(), amount))

    @invariant()
    def money_adds_up(self) -> None:
        self.model.compare()
        assert self.market.exchange.overspend_nanos() == 0

    def teardown(self) -> None:
        self.market.close()


ExchangeMachine.TestCase.settings = settings(
    max_examples=MACHINE_EXAMPLES,
    stateful_step_count=MACHINE_STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestExchange = ExchangeMachine.TestCase

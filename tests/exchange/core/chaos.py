"""Commands of every kind at random: most make sense, and some fields hold anything that fits."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, Final, get_args, get_type_hints

import msgspec

from exchange.core import commands as c
from exchange.core.events import InstrumentAdded, LeaseOffered, WorkerState
from exchange.core.limits import NS_PER_MS, NS_PER_S
from exchange.core.records import Record
from tests.exchange.core.scenario import Market, Offer, of_kind, replace, uuid7

INTEGER_RANGES: Final = {
    "B": (0, 2**8 - 1),
    "H": (0, 2**16 - 1),
    "I": (0, 2**32 - 1),
    "Q": (0, 2**64 - 1),
    "q": (-(2**63), 2**63 - 1),
}
FIELD_SIZES: Final = {"16s": 16, "32s": 32}
KEPT_OFFERS: Final = 200


def field_codes(kind: type[Record]) -> dict[str, str]:
    """The codes of a record's fields by name."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: get_args(hints[name])[1] for name in kind.__struct_fields__}


def nonsense(rng: random.Random, code: str) -> Any:
    """Any value that the field can hold, edges most of all."""
    if code in INTEGER_RANGES:
        low, high = INTEGER_RANGES[code]
        near = rng.randint(-3, 3)
        edges = (low, high, near, rng.randint(low, high), 10 ** rng.randint(0, 18) + near)
        return min(max(rng.choice(edges), low), high)
    if code in FIELD_SIZES:
        return rng.choice((bytes, rng.randbytes))(FIELD_SIZES[code])
    if code == "ints":
        return tuple(nonsense(rng, "q") for _ in range(rng.randint(0, 5)))
    if code == "str":
        return rng.choice(("", "/", "a/b/c", "\x00", "é" * 70, "instant/cpu/interactive"))
    return rng.choice((b"", b"{}", rng.randbytes(20), b'{"name":"x","family":"llama"}'))


class Chaos:
    """Makes commands for a market that is already open, and remembers what can be named."""

    def __init__(self, market: Market, seed: int) -> None:
        self.market = market
        self.rng = random.Random(seed)
        self.offers: list[Offer] = []
        self.used_ids: list[bytes] = []
        self.makers: list[Callable[[], c.Command]] = [
            *[self.advance] * 14,
            *[self.submit] * 14,
            *[self.submit_legs] * 3,
            *[self.place] * 8,
            *[self.conditional] * 8,
            *[self.multi_leg] * 2,
            *[self.step] * 24,
            *[self.cancel_order] * 3,
            self.mass_cancel,
            *[self.trading] * 2,
            *[self.replace_order] * 4,
            *[self.cancel_job] * 2,
            *[self.quote] * 4,
            *[self.repair] * 8,
            self.register,
            self.money,
            self.worker_goes,
            *[self.operator] * 3,
            self.recovered,
        ]

    def command(self) -> c.Command:
        """The next command; one in eight has a field or two that make no sense."""
        command = self.rng.choice(self.makers)()
        rarely = 0.5 if isinstance(command, c.AddInstrument) else 0.125
        if self.rng.random() < rarely:
            command = self.spoilt(command)
        return command

    def spoilt(self, command: c.Command) -> c.Command:
        """The same command with nonsense in one or two fields; time stays within reason."""
        codes = field_codes(type(command))
        values = {name: getattr(command, name) for name in codes}
        for name in self.rng.sample(list(codes), min(len(codes), self.rng.randint(1, 2))):
            values[name] = nonsense(self.rng, codes[name])
        if isinstance(command, c.Advance):
            values["now_ns"] = min(values["now_ns"], self.market.now_ns + NS_PER_S)
        if isinstance(command, c.Recovered):
            values["epoch"] = min(values["epoch"], self.market.exchange.epoch + 3)
        return type(command)(**values)

    def saw(self, events: Iterable[Any]) -> None:
        """Remember the leases that were offered, and trade on the newest instruments."""
        seen = list(events)
        self.offers += [Offer(self.market, event) for event in of_kind(seen, LeaseOffered)]
        del self.offers[:-KEPT_OFFERS]
        for added in of_kind(seen, InstrumentAdded):
            if self.market.exchange.instruments[added.instrument_id].clearing_group_id:
                self.market.cpu = added.instrument_id
            else:
                self.market.paper = added.instrument_id

    # One maker per kind of command

    def client_id(self) -> bytes:
        """Mostly fresh; sometimes used, old, ahead, or no UUIDv7."""
        rng = self.rng
        if self.used_ids and rng.random() < 0.06:
            return rng.choice(self.used_ids)
        ahead = rng.choice((0,) * 20 + (-90_000 * NS_PER_S, 90 * NS_PER_S, 59 * NS_PER_S))
        made = uuid7(rng.getrandbits(60), self.market.now_ns + ahead)
        self.used_ids.append(made)
        return made if rng.random() < 0.98 else rng.randbytes(16)

    def some(self, ids: Iterable[int]) -> int:
        """One of these ids, or a small one."""
        known = list(ids)
        if known and self.rng.random() < 0.95:
            return self.rng.choice(known)
        return self.rng.randint(0, 3)

    def advance(self) -> c.Command:
        batch = 10 * NS_PER_MS
        steps = (1, NS_PER_MS, *[batch] * 8, 30 * batch, 30 * batch, NS_PER_S, 5 * NS_PER_S)
        step = self.rng.choice(steps)
        if self.rng.random() < 0.01:
            step = self.rng.choice((3_600, 90_000)) * NS_PER_S
        return c.Advance(self.market.now_ns + step)

    def submit(self) -> c.Command:
        rng, market = self.rng, self.market
        limit = rng.choice((0, 0, ASK_NEAR[rng.randrange(3)]))
        return market.job(
            account_id=rng.choice((market.buyer, market.other, market.other, market.seller)),
            client_job_id=self.client_id(),
            instrument_id=rng.choice((0, 0, market.cpu, self.some(market.exchange.instruments))),
            quantity_mflop=rng.choice((29, 100, 1_000, 1_000, 10**6)),
            value_nanos=0 if limit else rng.choice((0, 10**5, 10**6, 10**9)),
            limit_nanos=limit,
            max_cost_nanos=rng.choice((0, 10**6)),
            deadline_within_ns=rng.choice((300 * NS_PER_MS, NS_PER_S, 10 * NS_PER_S)),
            tier="interactive",
        )

    def submit_legs(self) -> c.Command:
        """A job with one to three legs, mostly on instruments that sell leases."""
        rng, instruments = self.rng, self.market.exchange.instruments
        leased = [i for i, found in instruments.items() if found.clearing_group_id]
        named = rng.sample(leased, min(len(leased), rng.randint(1, 3)))
        if rng.random() < 0.05:
            named.append(self.some(instruments))
        limits = [rng.choice((0, ASK_NEAR[rng.randrange(3)])) for _ in named]
        numbers = []
        for instrument_id, limit in zip(named, limits, strict=True):
            tokens = rng.choice((10, 10, 10, 5_000))
            numbers += [instrument_id, limit, rng.choice((29, 100, 1_000)), tokens, 4 * tokens]
        return replace(
            self.submit(),
            **dict.fromkeys(
                ("model_id", "instrument_id", "quantity_mflop", "input_tokens", "limit_nanos"), 0
            ),
            input_tokens_max=0,
            tier="",
            value_nanos=0 if all(limits) else rng.choice((10**5, 10**6)),
            legs=tuple(numbers),
        )

    def place(self) -> c.Command:
        rng, market = self.rng, self.market
        tif = rng.choice((1, 1, 1, 2, 3, 4))
        return market.order(
            account_id=rng.choice((market.ann, market.bob)),
            client_order_id=self.client_id(),
            side=rng.randint(1, 2),
            order_type=rng.choice((1, 1, 1, 2)),
            time_in_force=tif,
            self_trade=rng.randint(1, 4),
            price_nanos=rng.randint(95, 105),
            quantity_mflop=rng.choice((1, 7, 1_000, 10**9, 10**15)),
            expire_time_ns=market.now_ns + rng.randint(0, 5 * NS_PER_S) if tif == 2 else 0,
            max_cost_nanos=rng.choice((0, 0, 0, 10**5)),
        )

    def conditional(self) -> c.Command:
        """Some conditions, most of which go together."""
        rng = self.rng
        plain = self.place()
        assert isinstance(plain, c.PlaceOrder)
        parts = (1, 7, plain.quantity_mflop // 2, plain.quantity_mflop // 50)
        asked: dict[str, Any] = rng.choice(
            (
                {},
                {"post_only": rng.randint(1, 2)},
                {"all_or_none": 1},
                {"hidden": 1},
                {"min_quantity_mflop": rng.choice(parts)},
                {"display_quantity_mflop": rng.choice(parts)},
                {"stop_price_nanos": rng.randint(95, 105)},
                {"stop_price_nanos": rng.randint(95, 105)},
                {"stop_price_nanos": rng.randint(95, 105), "hidden": 1},
            )
        )
        fields = msgspec.structs.asdict(plain)
        if "stop_price_nanos" in asked:
            fields["order_type"] = rng.randint(3, 4)
        return c.PlaceConditionalOrder(**fields, **asked, stream_id=rng.choice((0, 0, 1, 2)))

    def multi_leg(self) -> c.Command:
        """Legs in one to three continuous books, of quantities that often meet."""
        rng, market = self.rng, self.market
        placed = self.place()
        books = list(market.exchange.books)
        legs = [
            (book, rng.randint(95, 105), rng.choice((1, 5, 10, 30)))
            for book in rng.sample(books, rng.randint(1, min(3, len(books))))
        ]
        whole = replace(
            placed,
            instrument_id=0,
            side=1,
            order_type=1,
            price_nanos=0,
            quantity_mflop=0,
            self_trade=rng.randint(1, 3),
        )
        fields = msgspec.structs.asdict(whole)
        numbers = tuple(number for leg in legs for number in leg)
        return c.PlaceMultiLegOrder(**fields, stream_id=rng.choice((0, 0, 1)), legs=numbers)

    def mass_cancel(self) -> c.Command:
        rng, market = self.rng, self.market
        account_id = rng.choice((market.ann, market.bob))
        if rng.random() < 0.5:
            return c.EndOrderStream(account_id, rng.randint(1, 2))
        return c.MassCancel(account_id, rng.choice((0, market.paper)), rng.randint(0, 2))

    def trading(self) -> c.Command:
        """Auctions of the paper book, and what keeps it orderly."""
        rng, paper = self.rng, self.market.paper
        if rng.random() < 0.5:
            call_ns = rng.choice((0, 20 * NS_PER_MS, NS_PER_S))
            return c.SetInstrumentState(paper, c.TradingState.AUCTION, call_ns)
        return c.SetProtections(
            paper,
            static_band_bps=rng.choice((0, 0, 300)),
            dynamic_band_bps=rng.choice((0, 0, 100)),
            volatility_move_bps=rng.choice((0, 400)),
            volatility_window_ns=NS_PER_S,
            reopening_call_ns=rng.choice((1, 50 * NS_PER_MS)),
            reopening_collar_bps=rng.choice((0, 200)),
            reopening_extension_ns=10 * NS_PER_MS,
            reopening_extensions=rng.choice((0, 2)),
            book_orders_max=rng.choice((0, 0, 30)),
            order_to_trade_window_ns=rng.choice((0, NS_PER_S)),
            order_to_trade_free=rng.choice((5, 50)),
            order_to_trade_ratio=3,
        )

    def cancel_order(self) -> c.Command:
        order_id = self.some(self.market.exchange.orders)
        account_id = self.rng.choice((self.market.ann, self.market.bob))
        if self.used_ids and self.rng.random() < 0.3:
            return c.CancelOrder(account_id, 0, self.rng.choice(self.used_ids))
        return c.CancelOrder(account_id, order_id, bytes(16))

    def replace_order(self) -> c.Command:
        rng = self.rng
        order = self.market.exchange.orders.get(self.some(self.market.exchange.orders))
        owner = order.account_id if order else self.market.ann
        order_id = order.order_id if order else 1
        total = rng.choice((1, 500, 2_000, order.quantity_mflop // 2 + 1 if order else 1))
        stop_price = rng.randint(95, 105) if order and order.waiting else 0
        return c.ReplaceOrder(owner, order_id, rng.randint(95, 105), total, stop_price)

    def cancel_job(self) -> c.Command:
        job_id = self.some(self.market.exchange.jobs)
        job = self.market.exchange.jobs.get(job_id)
        return c.CancelJob(self.rng.choice((job.account_id if job else 1, 0, 5)), job_id)

    def quote(self) -> c.Command:
        rng, market = self.rng, self.market
        worker_id = self.some(market.exchange.workers)
        if rng.random() < 0.2:
            return c.WithdrawQuote(worker_id, market.cpu, rng.randint(0, 1))
        low = ASK_NEAR[rng.randrange(3)]
        return c.SetQuote(
            worker_id,
            self.some(market.exchange.instruments),
            rng.randint(0, 1),
            rng.choice((1, NS_PER_S, 3_600 * NS_PER_S)),
            rng.choice(((low,), (low, low), (low, 2 * low))),
        )

    def repair(self) -> c.Command:
        """What a healthy market needs and this one lacks: nothing stays broken for long."""
        market = self.market
        exchange = market.exchange
        worker = exchange.workers[market.worker]
        if exchange.instruments[market.cpu].state == c.TradingState.CLOSED:
            name = f"instant/cpu{exchange.sequence}/interactive"
            return replace(exchange.instruments[1].terms, name=name)
        if not exchange.instruments[market.cpu].is_open:
            return c.SetInstrumentState(market.cpu, c.TradingState.OPEN)
        if exchange.instruments[market.paper].state in (2, 4) and self.rng.random() < 0.5:
            return c.SetInstrumentState(market.paper, c.TradingState.OPEN)
        if exchange.instruments[market.paper].state == c.TradingState.CLOSED:
            return replace(exchange.instruments[2].terms, name=f"paper{exchange.sequence}")
        for account_id in (market.buyer, market.seller, market.ann, market.bob):
            if exchange.accounts[account_id].halted:
                return c.SetAccountHalted(account_id, 0)
        if worker.state in (WorkerState.LOST, WorkerState.LEFT):
            return market.registration(market.seller, slots=tuple(worker.slots))
        if worker.state != WorkerState.READY:
            return c.SetWorker(0, market.worker, c.WorkerAction.RESUME)
        ask = ASK_NEAR[self.rng.randrange(2)]
        return market.quoting(prices_nanos=(ask,) * worker.slots[0])

    def register(self) -> c.Command:
        rng, market = self.rng, self.market
        return market.registration(
            rng.choice((market.seller, market.other, market.ann)),
            resume=rng.randint(0, 1),
            name=rng.choice(("worker", "second")),
            slots=rng.choice(((1,), (2,), (3,), (2, 1))),
        )

    def step(self) -> c.Command:
        """What a worker does next with a lease; sometimes another step, or a lie."""
        rng = self.rng
        if not self.offers:
            return c.AcceptLease(1, 1, 1, 1)
        offer = rng.choice(self.offers[-6:] if rng.random() < 0.9 else self.offers)
        lease = self.market.exchange.leases.get(offer.lease_id)
        state = int(lease.state) if lease and rng.random() < 0.9 else rng.randint(0, 4)
        if state == 1 and rng.random() < 0.85:
            return c.AcceptLease(*offer.token)
        if state == 2 and rng.random() < 0.85:
            return c.StartLease(*offer.token)
        if state in (1, 2):
            return c.DeclineLease(*offer.token, rng.choice((709, 713, 714, 715, 0)))
        if offer.job_id not in self.market.exchange.jobs:
            return c.StartLease(*offer.token)
        return offer.receipt(
            rng.choice((0, 10, 10, 41)), rng.choice((0, 1, 19, 19, 30)), **self.lie()
        )

    def lie(self) -> dict[str, Any]:
        lies = (
            {"cause": self.rng.randint(0, 7)},
            {"signature_valid": 0},
            {"flops": 5},
            {"tokens_received": 0},
            {"output_digest": bytes(32)},
            {"trace": b"?"},
        )
        return self.rng.choice(lies) if self.rng.random() < 0.25 else {}

    def money(self) -> c.Command:
        kind = self.rng.choice((c.Deposit, c.Withdraw))
        amount = self.rng.choice((1, 10**6, 10**12, 2**61))
        return kind(self.some(self.market.exchange.accounts), self.client_id(), amount)

    def worker_goes(self) -> c.Command:
        worker_id = self.some(self.market.exchange.workers)
        account_id = self.rng.choice((0, self.market.seller))
        return self.rng.choice((
            c.WorkerLost(worker_id),
            c.LeaveWorker(worker_id),
            c.SetWorker(account_id, worker_id, self.rng.randint(1, 3)),
        ))  # fmt: skip

    def operator(self) -> c.Command:
        rng, exchange = self.rng, self.market.exchange
        number = rng.randint(0, 20)
        hashed = bytes([number]) * 32
        state = rng.choice((1, 1, 1, 1, 2, 3)) if rng.random() < 0.2 else rng.randint(1, 2)
        return rng.choice((
            c.SetAccountLimits(
                self.some(exchange.accounts), rng.choice((0, 1, 50)), rng.choice((0, 1, 50))
            ),
            c.SetAccountLimits(self.some(exchange.accounts), 0, 0, NS_PER_S, 20, 2),
            c.OpenAccount(rng.randint(1, 2), f"account-{number}"),
            c.AddKey(self.some(exchange.accounts), rng.randint(0, 16), hashed, "key"),
            c.RevokeKey(hashed),
            c.SetInstrumentState(self.some(exchange.instruments), state),
            c.SetInstrumentState(self.some(exchange.instruments), 1),
            c.SetAccountHalted(self.some(exchange.accounts), 1),
            c.SetAccountHalted(self.some(exchange.accounts), 0),
            c.SetAccountHalted(self.market.buyer, 0),
            replace(exchange.instruments[1].terms, name=f"instant/gpu{number}/interactive"),
            replace(exchange.instruments[2].terms, name=f"other{number}"),
            c.AddModel(b"{}"),
        ))  # fmt: skip

    def recovered(self) -> c.Command:
        outage = self.rng.choice((0, NS_PER_S, 3_600 * NS_PER_S))
        return c.Recovered(self.market.exchange.epoch + self.rng.randint(0, 1), outage)


ASK_NEAR: Final = (10_000_000, 50_000_000, 80_000_000)
"""Asks and limits that often meet."""


class OrderChaos(Chaos):
    """Orders and what moves their books only, of quantities that often meet."""

    def __init__(self, market: Market, seed: int) -> None:
        super().__init__(market, seed)
        self.books = [market.paper, market.paper_book("second"), market.paper_book("third")]
        self.makers = [
            *[self.place] * 10,
            *[self.conditional] * 14,
            *[self.multi_leg] * 5,
            *[self.cancel_order] * 4,
            *[self.replace_order] * 5,
            *[self.advance] * 3,
            self.mass_cancel,
            self.trading,
            *[self.open_book] * 2,
        ]

    def place(self) -> c.Command:
        rng = self.rng
        placed = super().place()
        return replace(
            placed,
            client_order_id=uuid7(rng.getrandbits(60), self.market.now_ns),
            instrument_id=rng.choice(self.books),
            quantity_mflop=rng.choice((1, 2, 5, 10, 20, 50)),
            max_cost_nanos=rng.choice((0, 0, 0, 1)),
        )

    def spoilt(self, command: c.Command) -> c.Command:
        """As for all, but the book must not close for good."""
        made = super().spoilt(command)
        return command if isinstance(made, c.SetInstrumentState) else made

    def open_book(self) -> c.Command:
        """Books are open most of the time, and without protections half of it."""
        book = self.rng.choice(self.books)
        self.market.paper = self.rng.choice(self.books)  # what the operator looks at next
        if self.rng.random() < 0.3:
            return c.SetProtections(book)
        return c.SetInstrumentState(book, c.TradingState.OPEN)

"""An exchange made again of its canonical state: the counterpart of `Exchange.dump`.

`Exchange.state_tree` and `_restore` stand in the same order. What a structure tells by `state` it
takes back by `restore` (in place) or `restored` (a new one), beside each other in its module; what
follows from other parts, such as the indexes by name, is made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from exchange.core.accounts import Account, Key
from exchange.core.commands import ClearingMode
from exchange.core.exchange import Exchange
from exchange.core.instruments import Instrument, Model
from exchange.core.jobs import Job
from exchange.core.lease import Lease
from exchange.core.ledger import Hold
from exchange.core.limits import RULES_VERSION
from exchange.core.open_orders import restore_orders
from exchange.core.workers import Quote, Worker
from exchange.metering.cards import CardError, decode_card
from matching.book import Book
from matching.clearing import ClearingGroup


class SnapshotInvalid(ValueError):
    """The bytes are no state of an exchange under these rules."""


def load(state: bytes | memoryview) -> Exchange:
    """The exchange whose `dump` this is: it has the same digest, and does the same from now on.

    O(everything). That the bytes are those that were written is the caller's to check: what no
    exchange would have written may pass for a state.

    Raises:
        SnapshotInvalid: they are no state, or one under other rules.
    """
    try:
        tree = msgspec.msgpack.decode(state)
        if tree[0] != RULES_VERSION:
            raise SnapshotInvalid(f"a state under rules {tree[0]}, not {RULES_VERSION}")
        exchange = Exchange()
        _restore(exchange, tree[1:])
    except SnapshotInvalid:
        raise
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        CardError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
        msgspec.MsgspecError,
    ) as error:
        raise SnapshotInvalid(f"no state: {type(error).__name__}: {error}") from error
    return exchange


def _restore(exchange: Exchange, tree: Sequence[Any]) -> None:
    """Make a new exchange what the tree says, its rules version left out."""
    numbers, rest = tree[:6], tree[6:]
    (
        exchange.now_ns,
        exchange.epoch,
        exchange.sequence,
        exchange.grace_until_ns,
        exchange.jobs_settled,
        exchange.jobs_unsettled,
    ) = numbers
    counters, ledger, timers, client_ids, order_ids, accounts, keys, *rest = rest
    models, instruments, books, legs, job_legs, groups, orders, jobs, leases, workers = rest
    exchange.counters.restore(counters)
    exchange.ledger.restore(ledger)
    exchange.timers.restore(timers)
    _restore_accounts(exchange, accounts, keys)
    exchange.client_ids.restore(client_ids, exchange.accounts)
    exchange.order_ids.restore(order_ids, exchange.accounts)
    _restore_market(exchange, models, instruments)
    for instrument_id, image in books:
        terms = exchange.instruments[instrument_id].terms
        book = Book.from_image(image, terms.tick_nanos, terms.lot_mflop)
        exchange.books[instrument_id] = exchange.instruments[instrument_id].book = book
    exchange.legs.restore(legs)
    holds = exchange.ledger.open_holds()
    restore_orders(exchange.orders, orders, exchange.accounts, exchange.instruments, holds)
    _restore_jobs(exchange, jobs, leases, holds)
    _restore_workers(exchange, workers)
    pools = {pool_id: pool.slots for pool_id, pool in exchange.pools.items()}
    for group_id, state in groups:
        exchange.groups[group_id].restore(state, pools)
    exchange.job_legs.restore(job_legs)
    for worker_state in workers:
        _restore_quotes(exchange, exchange.workers[worker_state[0]])


def _restore_accounts(exchange: Exchange, accounts: Sequence[Any], keys: Sequence[Any]) -> None:
    exchange.accounts.clear()
    exchange.account_by_name.clear()
    for state in accounts:
        account = Account.restored(state)
        exchange.accounts[account.account_id] = account
        exchange.account_by_name[account.name] = account.account_id
    for key_hash, *key in keys:
        exchange.keys[key_hash] = Key(*key)


def _restore_market(exchange: Exchange, models: Sequence[Any], instruments: Sequence[Any]) -> None:
    for model_id, card_bytes in models:
        model = Model(model_id, decode_card(card_bytes), card_bytes)
        exchange.models[model_id] = model
        exchange.model_by_name[model.card.name] = model_id
    for state in instruments:
        instrument = Instrument.restored(state)
        instrument_id, group_id = instrument.instrument_id, instrument.clearing_group_id
        exchange.instruments[instrument_id] = instrument
        exchange.instrument_by_name[instrument.name] = instrument_id
        if instrument.terms.mode != ClearingMode.BATCH:
            continue
        if group_id not in exchange.groups:
            exchange.group_by_key[instrument.terms.model_id, instrument.tier] = group_id
            exchange.groups[group_id] = ClearingGroup(group_id, exchange.rules.ramp_ns)
            exchange.group_classes[group_id] = []
        exchange.group_classes[group_id].append(instrument_id)


def _restore_jobs(
    exchange: Exchange, jobs: Sequence[Any], leases: Sequence[Any], holds: dict[int, Hold]
) -> None:
    for state in jobs:
        job = Job.restored(state)
        if job.is_open:
            job.hold = holds[job.transfer_id]
        exchange.jobs[job.job_id] = job
        exchange.accounts[job.account_id].job_ids[job.job_id] = None
    for state in leases:
        lease = Lease.restored(state)
        exchange.leases[lease.lease_id] = lease


def _restore_workers(exchange: Exchange, workers: Sequence[Any]) -> None:
    for state in workers:
        worker = Worker.restored(state)
        exchange.workers[worker.worker_id] = worker
        exchange.worker_by_name[worker.account_id, worker.name] = worker.worker_id
        for pool in worker.pools:
            exchange.pools[pool.slots.pool_id] = pool


def _restore_quotes(exchange: Exchange, worker: Worker) -> None:
    """What stands in the groups' ladders is the worker's, too."""
    for pool in worker.pools:
        for listed in pool.slots.quotes:
            key = (listed.instrument_id, pool.index)
            worker.quotes[key] = Quote(pool.index, listed)
            exchange.quotes[listed.quote_id] = (worker.worker_id, *key)

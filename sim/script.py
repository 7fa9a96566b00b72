"""The recorded commands as another market is given them."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from exchange.core import commands as c
from exchange.core.exchange import Exchange
from exchange.core.planning import LEG_NUMBERS
from sim.recording import Recording, WorkerKey
from sim.settings import SettingError, Settings
from sim.tally import JobKey
from worker.quoting import on_tick

_OF_WORKERS: Final = (c.SetQuote, c.WithdrawQuote, c.WorkerLost, c.LeaveWorker, c.SetWorker)


class Script:
    """Turns exogenous commands of a record into those of a play.

    Attributes:
        jobs: The play's ids of the record's jobs: whoever plays enters them.
    """

    def __init__(self, recording: Recording, settings: Settings) -> None:
        self._recording, self._settings = recording, settings
        self.jobs: dict[JobKey, int] = {}
        self._names = _fleet(list(dict.fromkeys(recording.workers.values())), settings.workers)

    def commands(self, core: Exchange, command: c.Command) -> list[c.Command]:
        """What the play's engine is given in place of a recorded command, maybe nothing."""
        match command:
            case c.AddInstrument(settlement=c.Settlement.LEASE):
                return [self._instrument(command)]
            case c.RegisterWorker():
                return self._registered(command)
            case c.SubmitJob():
                return [self._submitted(core, command)]
            case c.CancelJob():
                key = self._recording.jobs.get(command.job_id)
                job_id = self.jobs.get(key, 0) if key else 0
                return [msgspec.structs.replace(command, job_id=job_id)]
        if isinstance(command, _OF_WORKERS):
            return self._of_worker(core, command)
        return [command]

    def _instrument(self, terms: c.AddInstrument) -> c.AddInstrument:
        tick = self._settings.tick_nanos
        if tick is None:
            return terms
        least = -(-terms.price_min_nanos // tick) * tick
        most = terms.price_max_nanos // tick * tick
        if least > most:
            raise SettingError(f"tick={tick}: no price of {terms.name} would be a multiple of it")
        return msgspec.structs.replace(
            terms, tick_nanos=tick, price_min_nanos=least, price_max_nanos=most
        )

    def _registered(self, command: c.RegisterWorker) -> list[c.Command]:
        key = command.account_id, command.name
        copies: list[c.Command] = []
        for name in self._names.get(key, [command.name]):
            public_key = command.public_key
            if name != command.name:  # a key of its own, as every worker has
                public_key = hashlib.sha256(public_key + name.encode()).digest()
            slots = tuple(self._settings.slots or n for n in command.slots)
            copies.append(
                msgspec.structs.replace(command, name=name, public_key=public_key, slots=slots)
            )
        return copies

    def _of_worker(self, core: Exchange, command: c.Command) -> list[c.Command]:
        """The same for every copy of a worker that is there."""
        assert isinstance(command, _OF_WORKERS)
        account_id, name = self._recording.workers.get(command.worker_id, (0, ""))
        if isinstance(command, c.SetQuote):
            command = self._quote(core, command)
        found = (
            core.worker_by_name.get((account_id, copy), 0)
            for copy in self._names.get((account_id, name), [])
        )
        return [msgspec.structs.replace(command, worker_id=i) for i in found if i]

    def _quote(self, core: Exchange, command: c.SetQuote) -> c.SetQuote:
        """The quote on the tick, with a price for every slot that it had one for."""
        prices = command.prices_nanos
        slots, tick = self._settings.slots, self._settings.tick_nanos
        instrument = core.instruments.get(command.instrument_id)
        if slots:
            prices = tuple(prices[min(i, len(prices) - 1)] for i in range(slots))
        if tick and instrument:
            highest = instrument.price_max_nanos
            prices = tuple(min(price, highest) for price in on_tick(prices, tick))
        return msgspec.structs.replace(command, prices_nanos=prices)

    def _submitted(self, core: Exchange, terms: c.SubmitJob) -> c.SubmitJob:
        tier = self._settings.tier
        changes: dict[str, object] = {"limit_nanos": self._limit(terms.limit_nanos)}
        if tier and not terms.legs and (terms.model_id, tier) in core.group_by_key:
            instrument_id = self._same_class(core, terms.instrument_id, tier)
            if instrument_id or not terms.instrument_id:
                changes |= {"tier": tier, "instrument_id": instrument_id}
        if terms.legs:
            changes["legs"] = self._legs(core, terms.legs)
        return msgspec.structs.replace(terms, **changes)

    def _legs(self, core: Exchange, numbers: tuple[int, ...]) -> tuple[int, ...]:
        """The legs in the other tier, where that leaves no two in one instrument."""
        legs = [list(numbers[at : at + LEG_NUMBERS]) for at in range(0, len(numbers), LEG_NUMBERS)]
        tier = self._settings.tier
        moved = [tier and self._same_class(core, leg[0], tier) for leg in legs]
        if all(moved) and len(set(moved)) == len(legs):
            legs = [[int(to or 0), *leg[1:]] for to, leg in zip(moved, legs, strict=True)]
        return tuple(self._limit(n) if at == 1 else n for leg in legs for at, n in enumerate(leg))

    def _limit(self, limit_nanos: int) -> int:
        """A limit price on the tick, never above what the buyer said."""
        tick = self._settings.tick_nanos
        return limit_nanos // tick * tick if tick else limit_nanos

    @staticmethod
    def _same_class(core: Exchange, instrument_id: int, tier: str) -> int:
        """The instrument of the same model and hardware class in another tier; 0 if none."""
        instrument = core.instruments.get(instrument_id)
        if instrument is None:
            return 0
        name = f"{instrument.model_name}/{instrument.hardware_class}/{tier}"
        return core.instrument_by_name.get(name, 0)


def _fleet(recorded: list[WorkerKey], count: int | None) -> dict[WorkerKey, list[str]]:
    """By recorded worker: the names of those that stand for it, itself the first."""
    count = len(recorded) if count is None else count
    names: dict[WorkerKey, list[str]] = {}
    for number, (account_id, name) in enumerate(recorded):
        copies = len(range(number, count, len(recorded)))
        names[account_id, name] = [f"{name}+{i}" if i else name for i in range(copies)]
    return names

"""Metrics in Prometheus' text format, read from the exchange at each scrape.

Names have one prefix, base units and plural unit suffixes; totals end in `_total`. Labels are
bounded: instruments by a constant, methods and reasons by the API. No account, order or job is a
label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from itertools import islice
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from exchange.core.commands import TradingState
from exchange.core.events import LeaseState, WorkerState
from exchange.core.limits import RULES_VERSION
from exchange.engine.histogram import Histogram
from exchange.http.counts import EventCounts
from exchange.http.overview import worker_counts
from exchange.http.sources import Sources

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
INSTRUMENTS_MAX: Final = 100
"""Instruments with figures of their own: the oldest that are not closed."""
BOOK_LEVELS_MAX: Final = 1_000
"""Levels of one side that are counted; a deeper book counts as so many."""
NS_PER_S: Final = 1e9
VERSION: Final = version("flopex")

Queues = Callable[[], Mapping[str, tuple[int, int]]]
"""What can fill up, by name: how full it is, and where it ends."""


class EdgeMetrics:
    """The metrics of the process that serves them, in a registry of its own.

    Args:
        sockets: How many WebSockets watch the overview.
        queues: What can fill up in HTTP, by name: how full it is, and where it ends.
        collectors: More of them.
    """

    def __init__(
        self, sockets: Callable[[], int], queues: Queues, *collectors: Collector | None
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(HttpCollector(sockets, queues))
        for collector in collectors:
            if collector is not None:
                self._registry.register(collector)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def exposition(self) -> bytes:
        """The metrics now."""
        return generate_latest(self._registry)


class HttpCollector(Collector):
    """What HTTP has open, as metrics."""

    def __init__(self, sockets: Callable[[], int], queues: Queues) -> None:
        self._sockets = sockets
        self._queues = queues

    def describe(self) -> Iterable[Metric]:
        """Nothing is computed at registration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All of them now."""
        yield _gauge("flopex_http_sockets", "Open WebSockets of the overview", self._sockets())
        yield from _queue_metrics("flopex_http_queue", self._queues())


def _queue_metrics(prefix: str, found: Mapping[str, tuple[int, int]]) -> Iterator[Metric]:
    depths = GaugeMetricFamily(
        f"{prefix}_depth", "What waits; of many of a kind, in the fullest", labels=["queue"]
    )
    limits = GaugeMetricFamily(f"{prefix}_limit", "What may wait", labels=["queue"])
    for name, (depth, limit) in found.items():
        depths.add_metric([name], depth)
        limits.add_metric([name], limit)
    yield depths
    yield limits


class ExchangeCollector(Collector):
    """Turns the exchange's state into metrics."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._counts = EventCounts(sources.engine)

    def describe(self) -> Iterable[Metric]:
        """Nothing is computed at registration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All metrics now."""
        yield from self._engine()
        yield from self._commits()
        yield from self._read_model()
        yield from self._market()
        yield from self._work()
        yield from self._books()
        yield from self._edges()

    def _engine(self) -> Iterator[Metric]:
        engine = self._sources.engine
        stats, core = engine.stats, engine.core
        yield InfoMetricFamily("flopex_build", "What runs", {"version": VERSION})
        yield _gauge("flopex_rules_version", "Version of the rules of the journal", RULES_VERSION)
        yield _gauge("flopex_up", "1 while commands are taken", int(engine.running))
        yield _gauge("flopex_draining", "1 once no new work is taken", self._sources.draining())
        yield _gauge("flopex_epoch", "Number of the present life of the exchange", core.epoch)
        yield _gauge("flopex_journal_records", "Commands in the journal", core.sequence)
        yield _total("flopex_commands", "Commands sequenced since the start", stats.commands)
        yield _total("flopex_commit_groups", "Commit groups since the start", stats.groups)
        yield _total(
            "flopex_journal_payload_bytes", "Bytes of encoded commands", stats.payload_bytes
        )
        for name, text, spent_ns in (
            ("apply", "Time in the state machine", stats.apply_ns),
            ("append", "Time in writing and syncing the journal", stats.append_ns),
            ("publish", "Time in readers of the event feed", stats.publish_ns),
        ):
            yield _total(f"flopex_{name}_seconds", f"{text}, seconds", spent_ns / NS_PER_S)
        for name, text, spent_ns in (
            ("apply", "CPU time of the state machine", stats.apply_cpu_ns),
            ("append", "CPU time of writing the journal", stats.append_cpu_ns),
            ("publish", "CPU time of readers of the event feed", stats.publish_cpu_ns),
        ):
            yield _total(f"flopex_{name}_cpu_seconds", f"{text}, seconds", spent_ns / NS_PER_S)
        yield _gauge(
            "flopex_pending_commands", "Commands that wait for their commit", engine.pending
        )
        yield _total(
            "flopex_subscriber_errors",
            "Failures of readers of the event feed",
            stats.subscriber_errors,
        )
        taken = stats.snapshots
        yield _total("flopex_snapshots", "Snapshots taken since the start", taken.taken)
        yield _total("flopex_snapshot_failures", "Snapshots that failed", taken.failed)
        yield _total("flopex_snapshots_late", "Snapshots whose follower was starved", taken.late)
        yield _total(
            "flopex_replay_differences",
            "Replays of the journal that differed from the live engine: an alarm",
            taken.differs + bool(engine.recovered.differs),
        )
        yield _gauge("flopex_snapshot_sequence", "Of the newest snapshot", taken.sequence)

    def _commits(self) -> Iterator[Metric]:
        stats = self._sources.engine.stats
        yield _histogram(
            "flopex_journal_sync_seconds",
            "How long a group's write held the engine up",
            stats.sync_ns,
        )
        yield _histogram(
            "flopex_journal_write_seconds",
            "From beginning to write a group until it was durable, applied meanwhile",
            stats.write_ns,
        )
        yield _histogram(
            "flopex_ack_seconds", "From a submission to its answer, in the engine", stats.ack_ns
        )
        yield _histogram(
            "flopex_group_commands", "Commands submitted for a group", stats.group_commands, 1
        )
        family = CounterMetricFamily(
            "flopex_refused_commands", "Commands that were refused, by reason", labels=["reason"]
        )
        for reason, count in sorted(self._counts.refused.items()):
            family.add_metric([reason.name], count)
        yield family

    def _read_model(self) -> Iterator[Metric]:
        """How far the read model is, where there is one."""
        found = self._sources.read_model()
        if found is None:
            return
        yield _gauge("flopex_read_model_sequence", "Last command in the read model", found.sequence)
        yield _gauge(
            "flopex_read_model_lag_commands", "Commands that it does not contain yet", found.lag
        )
        yield _gauge("flopex_read_model_questions", "Questions under way", found.questions)
        yield _total("flopex_read_model_errors", "Looks at it that failed", found.errors)

    def _market(self) -> Iterator[Metric]:
        core = self._sources.engine.core
        states = Counter(i.state for i in core.instruments.values())
        family = GaugeMetricFamily("flopex_instruments", "Instruments by state", labels=["state"])
        for state in TradingState:
            family.add_metric([state.name.lower()], states[state])
        yield family
        yield _gauge("flopex_accounts", "Accounts", len(core.accounts))
        yield _gauge("flopex_orders_open", "Explicit orders that rest in a book", len(core.orders))
        yield _gauge(
            "flopex_ledger_imbalance_nanos",
            "Sum over all accounts, nano-dollars: always 0",
            core.imbalance_nanos(),
        )

    def _work(self) -> Iterator[Metric]:
        core = self._sources.engine.core
        leases = sum(len(worker.lease_ids) for worker in core.workers.values())
        ended = core.jobs_settled + core.jobs_unsettled
        yield _gauge("flopex_jobs_open", "Jobs that have not ended", core.counters.job - ended)
        yield _gauge("flopex_leases_open", "Leases that have not ended", leases)
        yield from self._leases()
        yield _total("flopex_jobs_settled", "Jobs that were settled, ever", core.jobs_settled)
        yield _total("flopex_jobs_unsettled", "Jobs that ended otherwise", core.jobs_unsettled)
        flops = sum(worker.earned_flops for worker in core.workers.values())
        yield _total("flopex_settled_flops", "Floating-point operations settled, ever", flops)
        states = Counter(worker.state for worker in core.workers.values())
        family = GaugeMetricFamily("flopex_workers", "Workers by state", labels=["state"])
        for state in WorkerState:
            family.add_metric([state.name.lower()], states[state])
        yield family
        counts = worker_counts(core)
        yield _gauge("flopex_worker_slots", "Slots of workers that are present", counts.slots)
        yield _gauge("flopex_worker_slots_in_use", "Slots that a lease holds", counts.slots_in_use)

    def _leases(self) -> Iterator[Metric]:
        core = self._sources.engine.core
        held = Counter(
            core.leases[lease_id].state
            for worker in core.workers.values()
            for lease_id in worker.lease_ids
        )
        family = GaugeMetricFamily("flopex_leases", "Open leases by state", labels=["state"])
        for state in (LeaseState.OFFERED, LeaseState.ACCEPTED, LeaseState.RUNNING):
            family.add_metric([state.name.lower()], held[state])
        yield family
        ended = CounterMetricFamily(
            "flopex_leases_ended", "Leases that ended since the start", labels=["state"]
        )
        for state, count in sorted(self._counts.leases_ended.items()):
            ended.add_metric([state.name.lower()], count)
        yield ended

    def _books(self) -> Iterator[Metric]:
        core = self._sources.engine.core
        family = GaugeMetricFamily(
            "flopex_book_levels", "Price levels of a book", labels=["instrument", "side"]
        )
        traded = (i for i in core.instruments.values() if i.state != TradingState.CLOSED)
        for instrument in islice(traded, INSTRUMENTS_MAX):
            bids, asks = core.depth(instrument.instrument_id, BOOK_LEVELS_MAX)
            family.add_metric([instrument.name, "bid"], len(bids))
            family.add_metric([instrument.name, "ask"], len(asks))
        yield family

    def _edges(self) -> Iterator[Metric]:
        sources = self._sources
        yield _gauge("flopex_worker_sessions", "Open sessions of workers", sources.sessions())
        yield from _queue_metrics("flopex_queue", sources.queues())
        yield _gauge("flopex_rpc_streams", "gRPC streams under way", sources.streams())
        calls = CounterMetricFamily("flopex_rpc_calls", "gRPC calls by method", labels=["method"])
        errors = CounterMetricFamily(
            "flopex_rpc_errors", "gRPC calls that failed, by reason", labels=["method", "reason"]
        )
        for name, count in sources.counters().items():
            kind, *labels = name.split()
            if kind == "calls":
                calls.add_metric(labels, count)
            elif kind == "errors":
                errors.add_metric(labels, count)
        yield calls
        yield errors


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _histogram(name: str, text: str, found: Histogram, scale: float = NS_PER_S) -> Metric:
    """Counts by range; of nanoseconds, in seconds."""
    ends = [*(str(bound / scale) for bound in found.bounds), "+Inf"]
    buckets = list(zip(ends, map(float, found.cumulative()), strict=True))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=found.total / scale)


def _total(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)

"""OpenTelemetry traces of jobs: one trace for each, from its submission to its settlement.

They are made where the read model is fed, from what the journal says, so the exchange itself pays
nothing for them, on or off. Times are the journal's: those of commit groups. The id of a job's
trace is its client job id, so whoever submitted it can find the trace.

    job                  from the submission to the end
      submit             the command, until its commit group
      escrow             what was held
      match              from the bid's entry to the fill, once per attempt
      lease offer        until the worker accepted, declined or let it pass
      run                from the engine's start to the lease's end
      receipt            what was handed in, and what the exchange made of it
      settle             what was paid
"""

from __future__ import annotations

import contextlib
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import structlog

from exchange.core import events as e
from exchange.core.commands import SubmitJob
from exchange.readmodel.errors import ReadModelError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

    from exchange.core.commands import Command

CONSOLE: Final = "console"
"""In place of an endpoint: spans are printed to stderr."""
JOBS_TRACED_MAX: Final = 100_000
"""Open jobs that are followed; the traces of further ones are left out."""
NOT_INSTALLED: Final = "traces need: pip install 'flopex[otel]'"
_MODULES: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")

_log = structlog.get_logger(__name__)


class TracesUnavailable(ReadModelError):
    """Traces can go nowhere: OpenTelemetry is not installed, or the target is none."""


def check_target(target: str) -> None:
    """Refuse a target to which no traces can go; nothing is sent.

    Raises:
        TracesUnavailable: it is no URL and not the console, or OpenTelemetry is not installed.
    """
    parts = urlsplit(target)
    if target != CONSOLE and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise TracesUnavailable(
            f"traces cannot go to {target!r}: "
            f"name a collector (http://collector:4318/v1/traces) or {CONSOLE}"
        )
    try:
        installed = all(find_spec(name) for name in _MODULES)
    except ModuleNotFoundError:  # not even the package that it would be in
        installed = False
    if not installed:
        raise TracesUnavailable(NOT_INSTALLED)


def open_traces(target: str) -> JobTraces:
    """Traces that go to a collector's OTLP endpoint (http://host:4318/v1/traces), or to stderr.

    Headers, certificates and sampling come from the usual `OTEL_*` variables.

    Raises:
        TracesUnavailable: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import (
            BatchSpanProcessor,
            ConsoleSpanExporter,
            SimpleSpanProcessor,
        )
    except ImportError as error:
        raise TracesUnavailable(NOT_INSTALLED) from error
    ids = JobTraceIds()
    provider = TracerProvider(
        resource=Resource.create({"service.name": "flopex"}),
        id_generator=cast("Any", ids),
        shutdown_on_exit=False,
    )
    if target == CONSOLE:
        provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stderr)))
    else:
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=target)))
    return JobTraces(provider, ids)


@contextlib.contextmanager
def closing_traces(target: str) -> Iterator[JobTraces | None]:
    """Traces that go to a target, closed at the end; None where there is no target.

    Raises:
        TracesUnavailable: OpenTelemetry is not installed.
    """
    if not target:
        yield None
        return
    traces = open_traces(target)
    try:
        yield traces
    finally:
        traces.close()


class JobTraceIds:
    """Ids of spans at random, and of traces as they are asked for (an `IdGenerator`)."""

    def __init__(self) -> None:
        self.trace_id = 0

    def generate_trace_id(self) -> int:
        """The id of the job that is about to begin its trace."""
        return self.trace_id

    def generate_span_id(self) -> int:
        """64 bits, never zero."""
        return secrets.randbits(64) or 1

    def is_trace_id_random(self) -> bool:
        """Whether the last 56 bits are random: those of a UUIDv7 are the client's."""
        return False


class JobTraces:
    """Follows jobs through events and makes spans of their steps.

    Args:
        provider: Of `opentelemetry.sdk`, which processes and exports the spans.
        ids: Where that provider has its ids from.
    """

    def __init__(self, provider: TracerProvider, ids: JobTraceIds) -> None:
        self._provider = provider
        self._ids = ids
        self._tracer: Tracer = provider.get_tracer("exchange")
        self._jobs: dict[int, _Job] = {}
        self.left_out = 0
        self._handlers: dict[type, Callable[[Any, int, int], None]] = {
            e.JobQueued: self._requeued,
            e.LeaseOffered: self._offered,
            e.LeaseAccepted: self._accepted,
            e.LeaseStarted: self._started,
            e.ReceiptRefused: self._refused,
            e.ReceiptSettled: self._settled,
            e.LeaseEnded: self._lease_ended,
            e.JobEnded: self._ended,
        }

    def take(
        self,
        first_sequence: int,
        now_ns: int,
        commands: Sequence[Command],
        events: Iterable[Sequence[e.AnyEvent]],
    ) -> None:
        """One commit group, as `Projector.take` has it."""
        for sequence, (command, found) in enumerate(
            zip(commands, events, strict=True), first_sequence
        ):
            first = found[0]
            if type(first) is e.JobQueued and isinstance(command, SubmitJob):
                self._submitted(first, now_ns, sequence)
                continue
            for event in found:
                handler = self._handlers.get(type(event))
                if handler is not None:
                    handler(event, now_ns, sequence)

    def close(self) -> None:
        """Export what is finished, and stop."""
        self._provider.shutdown()

    def _submitted(self, event: e.JobQueued, now_ns: int, sequence: int) -> None:
        if len(self._jobs) >= JOBS_TRACED_MAX:
            self.left_out += 1
            if self.left_out.bit_count() == 1:  # seldom, and ever more seldom
                _log.warning("jobs are not traced: too many are open", left_out=self.left_out)
            return
        self._ids.trace_id = int.from_bytes(event.client_job_id)
        job = self._jobs[event.job_id] = _Job(self._tracer, event, now_ns)
        job.step("submit", now_ns, now_ns, {"flopex.sequence": sequence})
        job.step("escrow", now_ns, now_ns, {"flopex.escrow_nanos": event.escrow_nanos})

    def _requeued(self, event: e.JobQueued, now_ns: int, _: int) -> None:
        job = self._jobs.get(event.job_id)
        if job is not None:
            job.since_ns = now_ns
            job.attempt = event.attempt

    def _offered(self, event: e.LeaseOffered, now_ns: int, sequence: int) -> None:
        job = self._jobs.get(event.job_id)
        if job is not None:
            job.step(
                "match",
                job.since_ns,
                now_ns,
                {
                    "flopex.sequence": sequence,
                    "flopex.lease_id": event.lease_id,
                    "flopex.instrument_id": event.instrument_id,
                    "flopex.price_nanos": event.price_nanos,
                },
            )
            job.lease_id, job.since_ns, job.running = event.lease_id, now_ns, False

    def _accepted(self, event: e.LeaseAccepted, now_ns: int, _: int) -> None:
        job = self._jobs.get(event.job_id)
        if job is not None:
            job.step("lease offer", job.since_ns, now_ns, {"flopex.worker_id": event.worker_id})
            job.since_ns, job.accepted = now_ns, True

    def _started(self, event: e.LeaseStarted, now_ns: int, _: int) -> None:
        job = self._jobs.get(event.job_id)
        if job is not None:
            job.since_ns, job.running = now_ns, True

    def _settled(self, event: e.ReceiptSettled, now_ns: int, sequence: int) -> None:
        job = self._jobs.get(event.job_id)
        if job is None:
            return
        facts = {"flopex.sequence": sequence, "flopex.flops": str(event.flops)}
        job.step("receipt", now_ns, now_ns, facts)
        job.step("settle", now_ns, now_ns, {"flopex.billed_nanos": event.billed_nanos})

    def _refused(self, event: e.ReceiptRefused, now_ns: int, sequence: int) -> None:
        for job in self._jobs.values():
            if job.lease_id == event.lease_id:
                facts = {"flopex.sequence": sequence, "flopex.reason": event.reason.name}
                job.step("receipt", now_ns, now_ns, facts, failed=event.reason.name)
                return

    def _lease_ended(self, event: e.LeaseEnded, now_ns: int, _: int) -> None:
        job = self._jobs.get(event.job_id)
        if job is None or job.lease_id != event.lease_id:
            return
        failed = event.reason.name if event.state != e.LeaseState.SETTLED else ""
        facts = {"flopex.worker_id": event.worker_id, "flopex.lease_state": event.state.name}
        name = "run" if job.running else "lease offer"
        if job.running or not job.accepted:
            job.step(name, job.since_ns, now_ns, facts, failed=failed)
        job.running = job.accepted = False

    def _ended(self, event: e.JobEnded, now_ns: int, _: int) -> None:
        job = self._jobs.pop(event.job_id, None)
        if job is not None:
            job.end(event, now_ns)


class _Job:
    """A job under way: its root span, and since when its present step lasts."""

    __slots__ = (
        "_facts",
        "_root",
        "_tracer",
        "accepted",
        "attempt",
        "lease_id",
        "running",
        "since_ns",
    )

    def __init__(self, tracer: Tracer, event: e.JobQueued, now_ns: int) -> None:
        from opentelemetry import trace

        self._tracer = tracer
        self._facts = {"flopex.job_id": event.job_id}
        self.since_ns = now_ns
        self.attempt = event.attempt
        self.lease_id = 0
        self.accepted = self.running = False
        self._root: Span = tracer.start_span(
            "job",
            context=trace.set_span_in_context(trace.INVALID_SPAN),
            start_time=now_ns,
            attributes={**self._facts, "flopex.account_id": event.account_id},
        )

    def step(
        self, name: str, start_ns: int, end_ns: int, facts: dict[str, Any], failed: str = ""
    ) -> None:
        """One step, from its beginning to its end."""
        from opentelemetry import trace

        span = self._tracer.start_span(
            name,
            context=trace.set_span_in_context(self._root),
            start_time=start_ns,
            attributes={**self._facts, "flopex.attempt": self.attempt, **facts},
        )
        if failed:
            span.set_status(trace.StatusCode.ERROR, failed)
        span.end(end_ns)

    def end(self, event: e.JobEnded, now_ns: int) -> None:
        """The job is over."""
        from opentelemetry import trace

        root = self._root
        root.set_attribute("flopex.job_state", event.state.name)
        root.set_attribute("flopex.paid_nanos", event.paid_nanos)
        if event.state != e.JobState.SETTLED:
            root.set_status(trace.StatusCode.ERROR, event.reason.name)
        root.end(now_ns)

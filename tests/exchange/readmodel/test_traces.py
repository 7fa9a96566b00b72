from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
import structlog

from exchange.core import commands as c
from exchange.core.exchange import Exchange
from exchange.core.limits import NS_PER_MS
from exchange.readmodel import traces as traces_module
from exchange.readmodel.traces import (
    JobTraceIds,
    JobTraces,
    TracesUnavailable,
    check_target,
    closing_traces,
)
from tests.exchange.core.scenario import Market
from tests.exchange.readmodel.journals import chaos_commands

sdk = pytest.importorskip("opentelemetry.sdk.trace")
memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
export = pytest.importorskip("opentelemetry.sdk.trace.export")
otlp = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

STEPS = ["submit", "escrow", "match", "lease offer", "receipt", "settle", "run", "job"]


class Traced:
    """A core of its own, which applies what a scene did, and the spans that come of it."""

    def __init__(self, commands: list[c.Command]) -> None:
        self.exporter: Any = memory.InMemorySpanExporter()
        ids = JobTraceIds()
        provider = sdk.TracerProvider(id_generator=ids, shutdown_on_exit=False)
        provider.add_span_processor(export.SimpleSpanProcessor(self.exporter))
        self.traces = JobTraces(provider, ids)
        self.core = Exchange()
        for command in commands:
            events = self.core.apply([command])
            self.traces.take(self.core.sequence, self.core.now_ns, [command], events)

    @property
    def spans(self) -> list[Any]:
        return list(self.exporter.get_finished_spans())


def done(market: Market) -> Traced:
    return Traced(c.decode(bytes(market.records)))


def test_the_life_of_a_job() -> None:
    market = Market()
    job = market.job()
    market.do(job)
    submitted_ns = market.now_ns
    (offer,) = market.offers(market.batch())
    matched_ns = market.now_ns
    market.later(3 * NS_PER_MS)
    offer.accept()
    market.later(4 * NS_PER_MS)
    offer.start()
    market.later(5 * NS_PER_MS)
    offer.settle()
    spans = done(market).spans
    assert [span.name for span in spans] == STEPS
    by_name = {span.name: span for span in spans}
    root = by_name["job"]
    assert root.parent is None
    for span in spans:
        assert span.context.trace_id == int.from_bytes(job.client_job_id)
        assert span.attributes["flopex.job_id"] == 1
        assert span is root or span.parent.span_id == root.context.span_id
        assert root.start_time <= span.start_time <= span.end_time <= root.end_time
    assert root.start_time == submitted_ns
    took = {name: by_name[name].end_time - by_name[name].start_time for name in STEPS}
    assert took["match"] == matched_ns - submitted_ns
    assert took["lease offer"] == 3 * NS_PER_MS
    assert took["run"] == 5 * NS_PER_MS
    assert took["job"] == market.now_ns - submitted_ns
    assert by_name["settle"].attributes["flopex.billed_nanos"] > 0


def test_a_failed_attempt_is_an_error_and_a_second_one_follows() -> None:
    market = Market()
    market.leased().decline()
    market.quote()
    (offer,) = market.offers(market.batch())
    offer.run().settle()
    spans = done(market).spans
    offers = [span for span in spans if span.name == "lease offer"]
    assert [span.attributes["flopex.attempt"] for span in offers] == [1, 2]
    assert not offers[0].status.is_ok
    assert offers[0].status.description == "WORKER_BUSY"
    assert [span.name for span in spans].count("match") == 2


def test_whatever_happens_spans_are_whole() -> None:
    traced = Traced(chaos_commands(3, 800))
    roots = [span for span in traced.spans if span.name == "job"]
    ended = traced.core.jobs_settled + traced.core.jobs_unsettled
    assert len(roots) == ended > 10
    for span in traced.spans:
        assert span.start_time <= span.end_time
        assert "flopex.job_id" in span.attributes


def test_open_jobs_that_are_traced_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces_module, "JOBS_TRACED_MAX", 2)
    market = Market()
    for _ in range(5):
        market.submit()
    with structlog.testing.capture_logs() as logged:
        assert done(market).traces.left_out == 3
    assert [line["left_out"] for line in logged] == [1, 2]


@pytest.mark.parametrize("target", ["collector", "ftp://collector/v1", "http://", "//collector"])
def test_what_is_no_target_is_refused(target: str) -> None:
    with pytest.raises(TracesUnavailable, match="collector"):
        check_target(target)


@pytest.mark.parametrize("target", ["http://collector:4318/v1/traces", "https://c/x", "console"])
def test_a_target_is_one_where_opentelemetry_is_installed(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_target(target)
    monkeypatch.setattr(traces_module, "_MODULES", ("opentelemetry.nothing.of_it",))
    with pytest.raises(TracesUnavailable, match="otel"):
        check_target(target)


class Collector(BaseHTTPRequestHandler):
    """An OTLP endpoint that keeps what it is sent."""

    sent: ClassVar[list[tuple[str, bytes]]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.sent.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_spans_reach_a_collector() -> None:
    market = Market()
    market.leased().run().settle()
    sent: list[tuple[str, bytes]] = []
    handler = type("Handler", (Collector,), {"sent": sent})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        with closing_traces(f"http://127.0.0.1:{collector.server_port}/v1/traces") as traces:
            assert traces is not None
            core = Exchange()
            for command in c.decode(bytes(market.records)):
                events = core.apply([command])
                traces.take(core.sequence, core.now_ns, [command], events)
        collector.shutdown()
    spans = []
    for path, body in sent:
        assert path == "/v1/traces"
        for resource in otlp.ExportTraceServiceRequest.FromString(body).resource_spans:
            facts = {fact.key: fact.value.string_value for fact in resource.resource.attributes}
            assert facts["service.name"] == "flopex"
            spans += [span.name for scope in resource.scope_spans for span in scope.spans]
    assert sorted(spans) == sorted(STEPS)


def test_it_costs_nothing_where_it_is_off() -> None:
    """Nobody imports OpenTelemetry unless traces are asked for."""
    code = (
        "import sys, exchange.readmodel.__main__, exchange.server; "
        "assert not [m for m in sys.modules if m.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

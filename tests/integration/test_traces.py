"""One trace from the client to the audit record."""

import json
from collections.abc import Generator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import format_span_id, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from interlock_cli.demo.otlp import OtlpReceiver, SeenSpan
from interlock_common.testing.waiting import until
from stories.load import modern_call
from stories.stage import Stage, set_up

CLIENT = TracerProvider()
"""The client traces too; what it exports is nobody's business here, its ids are the beginning of the trace."""


@pytest.fixture
def receiver() -> Generator[OtlpReceiver]:
    with OtlpReceiver() as started:
        yield started


@pytest.fixture
def traced(receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory, containers: bool) -> Generator[Stage]:
    """A deployment, and an upstream, that export every span at once."""
    extra = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": receiver.traces_endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with set_up(tmp_path_factory.mktemp("traced"), containers=containers, extra=extra) as ready:
        yield ready


def record(stage: Stage, record_id: str) -> dict[str, Any]:
    with stage.deployment.rest(stage.token) as client:
        answer = client.get(f"/audit/records/{record_id}")
        return json.loads(answer.json()["leaf"]) if answer.is_success else {}


async def test_trace_spans_every_hop(traced: Stage, receiver: OtlpReceiver) -> None:
    with CLIENT.get_tracer("client").start_as_current_span("the client's call") as span:
        trace_id = format_trace_id(span.get_span_context().trace_id)
        client_span = format_span_id(span.get_span_context().span_id)
        headers, body = modern_call("notes-add_note", {"text": "traced"}, 1)
        TraceContextTextMapPropagator().inject(headers)
        with traced.deployment.rest(traced.token) as client:
            answer = client.post("/mcp", headers=headers, json=body).raise_for_status()
    record_id = answer.headers["interlock-audit"]

    services = {"gateway", "plugins", "audit", "notes"}

    def call_spans() -> list[SeenSpan]:
        spans = receiver.spans(trace_id)
        return [span for span in spans if span.service == "gateway" and span.name.startswith("tools/call")]

    await until(lambda: services <= {span.service for span in receiver.spans(trace_id)} and call_spans() != [], 20)
    await until(lambda: record(traced, record_id) != {}, 20)
    spans = {span.span_id: span for span in receiver.spans(trace_id)}
    (call,) = call_spans()
    assert call.parent_id == client_span, "the gateway's span is a child of the client's"
    assert all(span.parent_id in {*spans, client_span} for span in spans.values()), "no hop lost its parent"
    for service in ("plugins", "audit", "notes"):
        first = next(span for span in spans.values() if span.service == service)
        assert spans[first.parent_id].service == "gateway", f"{service} continues a span of the gateway"
    intent = record(traced, record_id)
    assert (intent["trace_id"], intent["span_id"]) == (trace_id, call.span_id)

"""OpenTelemetry traces and metrics, W3C context, structured logs; every name of ours is declared here.

Exports go out over OTLP/HTTP when ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or its per-signal form) is set, and
nowhere otherwise. Trace context travels as ``traceparent``/``tracestate`` in HTTP headers, NATS headers and
in the ``_meta`` of MCP requests (SEP-414) whether or not spans are exported.
"""

import logging
import os
import re
import sys
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TextIO, cast

import structlog
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

# Attributes (OpenTelemetry semantic conventions: messaging, rpc, MCP)
MESSAGING_SYSTEM = "messaging.system"
MESSAGING_DESTINATION = "messaging.destination.name"
MCP_METHOD = "mcp.method.name"
MCP_TOOL = "gen_ai.tool.name"
ERROR_TYPE = "error.type"
RECORD_ID = "interlock.audit.record_id"

# Metrics (durations in seconds); they measure nothing until a provider is set
_METER = metrics.get_meter("interlock")
CALL_DURATION = _METER.create_histogram(
    "mcp.server.operation.duration", unit="s", description="MCP requests as the gateway answers them"
)
BUS_REQUEST_DURATION = _METER.create_histogram(
    "messaging.client.operation.duration", unit="s", description="requests to other services over the bus"
)
TLS_REFUSED = _METER.create_counter(
    "interlock.tls.handshakes.failed", unit="{handshake}", description="TLS handshakes that failed, by their reason"
)
OUTCOME = "interlock.outcome"
IDENTITY = "interlock.identity"
CERTIFICATES = _METER.create_counter(
    "interlock.certificates", unit="{certificate}", description="certificates issued, renewed, refused and revoked"
)
CERTIFICATE_TIME_LEFT = "interlock.certificate.time_left"
"""An observed gauge, in seconds: how long the newest certificate of an identity still counts."""

_SECRET_KEY = re.compile(r"passw|secret|token(?!_id)|authorization|cookie|private|api_?key|credential", re.IGNORECASE)
_BEARER = re.compile(r"(?i)(bearer\s+|basic\s+)[A-Za-z0-9+/=._~-]{8,}")
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*")
_ASSIGNED = re.compile(
    r"""(?i)((?:passw(?:or)?d|secret|api_?key|access_token|refresh_token)\w*["']?\s*[=:]\s*)"""
    r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s"',;&)}]+)"""
)
_URL_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")
_REDACTED = "[redacted]"
_propagator = TraceContextTextMapPropagator()
_ids = RandomIdGenerator()


def exporting(signal: str = "TRACES") -> bool:
    """Whether the environment asks for this signal to be exported."""
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true" and any(os.environ.get(name) for name in names)


def configure(service: str, instance: str) -> None:
    """Set up traces and metrics of this process, once, before anything is traced."""
    resource = Resource.create(
        {"service.name": service, "service.namespace": "interlock", "service.instance.id": instance}
    )
    if exporting("TRACES"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - costs 50 ms and 10 MB
            OTLPSpanExporter,
        )

        provider = TracerProvider(resource=resource)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
    if exporting("METRICS"):
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415 - as above
            OTLPMetricExporter,
        )

        metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource))


def shutdown() -> None:
    """Send what is still held back; called once when the process ends."""
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        if isinstance(provider, TracerProvider | MeterProvider):
            provider.shutdown()


@contextmanager
def timed(histogram: metrics.Histogram, attributes: Mapping[str, Any]) -> Generator[None]:
    """Record how long the block takes, with the class of the error that ended it, if one did."""
    began = time.perf_counter()
    failed: dict[str, Any] = {}
    try:
        yield
    except BaseException as error:
        failed[ERROR_TYPE] = type(error).__name__
        raise
    finally:
        histogram.record(time.perf_counter() - began, {**attributes, **failed})


def tracer() -> trace.Tracer:
    return trace.get_tracer("interlock")


def meter() -> metrics.Meter:
    return metrics.get_meter("interlock")


def extract(headers: Mapping[str, str] | None) -> Context:
    """The context that a caller's headers carry; an empty one when they carry none."""
    return _propagator.extract(headers or {}, context=Context())


CONTEXT_FIELDS = ("traceparent", "tracestate")
"""The W3C fields that carry a context, in HTTP and NATS headers and in ``_meta``."""


def continue_or_begin(headers: Mapping[str, str]) -> Context:
    """The caller's context, or a fresh one where it sent none: every call has a trace id, exported or not."""
    context = extract(headers)
    if trace.get_current_span(context).get_span_context().is_valid or collecting():
        return context
    fresh = SpanContext(_ids.generate_trace_id(), _ids.generate_span_id(), is_remote=False)
    return trace.set_span_in_context(NonRecordingSpan(fresh), context)


def inject(headers: dict[str, str], context: Context | None = None) -> dict[str, str]:
    """Put the current (or the given) context into ``headers`` and return them."""
    _propagator.inject(headers, context=context)
    return headers


def remote_context(trace_id: str, span_id: str) -> Context:
    """A parent known only by the hex ids that a record carries; counts as sampled."""
    parent = SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
    return trace.set_span_in_context(NonRecordingSpan(parent), Context())


def current_ids() -> tuple[str, str]:
    """Trace id and span id in hex, empty strings outside a trace."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return "", ""
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


class _NoSpan:
    """What stands for a span where nobody collects spans: the context of the caller stays the current one."""

    def __enter__(self) -> Span:
        return trace.INVALID_SPAN

    def __exit__(self, *_error: object) -> None:
        """Nothing was begun."""


_NO_SPAN = _NoSpan()


def collecting() -> bool:
    """Whether this process collects spans at all."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    *,
    parent: Context | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> AbstractContextManager[Span]:
    """A span that notes an error's class, never its text (which could carry what a log must not)."""
    return _collected_span(name, kind, parent, attributes) if parent is not None or collecting() else _NO_SPAN


@contextmanager
def _collected_span(
    name: str, kind: SpanKind, parent: Context | None, attributes: Mapping[str, Any] | None
) -> Generator[Span]:
    with tracer().start_as_current_span(
        name, parent, kind, attributes, record_exception=False, set_status_on_exception=False
    ) as started:
        try:
            yield started
        except BaseException as error:
            started.set_attribute(ERROR_TYPE, type(error).__name__)
            started.set_status(Status(StatusCode.ERROR))
            raise


def redact(_logger: object, _method: str, event: Any) -> Any:
    """A structlog processor: no secret reaches a log line, whatever key or text carries it."""
    # What begins with an underscore is between structlog's processors and never printed.
    return {key: value if key.startswith("_") else _redacted(key, value) for key, value in event.items()}


def _redacted(key: str, value: Any) -> Any:
    """``value`` as JSON can show it: what is neither text, number nor a collection as its representation."""
    match value:
        case None | bool() | int() | float():
            return value
        case _ if _SECRET_KEY.search(key):
            return _REDACTED
        case str() | bytes():
            return _without_secrets(value if isinstance(value, str) else value.decode("utf-8", "replace"))
        case Mapping():
            return {_without_secrets(str(k)): _redacted(str(k), v) for k, v in cast("Mapping[Any, Any]", value).items()}
        case list() | tuple() | set() | frozenset():
            return _redacted_items(list(cast("Iterable[Any]", value)))
        case _:
            return _without_secrets(repr(value))


def _redacted_items(items: list[Any]) -> list[Any]:
    if len(items) == 2 and isinstance(items[0], str | bytes):  # noqa: PLR2004 - a header, as lists of pairs carry them
        name = items[0] if isinstance(items[0], str) else items[0].decode("latin-1")
        return [_without_secrets(name), _redacted(name, items[1])]
    return [_redacted("", item) for item in items]


def _without_secrets(text: str) -> str:
    text = _JWT.sub(_REDACTED, _BEARER.sub(rf"\g<1>{_REDACTED}", text))
    return _URL_PASSWORD.sub(rf"\g<1>{_REDACTED}@", _ASSIGNED.sub(rf"\g<1>{_REDACTED}", text))


def _trace_ids(_logger: object, _method: str, event: Any) -> Any:
    trace_id, span_id = current_ids()
    if trace_id:
        event["trace_id"], event["span_id"] = trace_id, span_id
    return event


class _StandardOutput(logging.StreamHandler[TextIO]):
    """Writes to what is standard output at the moment of writing."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # pyright: ignore[reportIncompatibleVariableOverride] - as logging's own last resort
        return sys.stdout


def configure_logs(service: str, level: str) -> None:
    """Have this process log JSON lines from here on, without secrets."""
    number = logging.getLevelNamesMapping()[level]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _trace_ids,
        _named(service),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=False,  # standard output is looked up anew, since it may be exchanged
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        processor=structlog.processors.JSONRenderer(),
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
    )
    handler = _StandardOutput()
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
    # The bus client keeps half-closed connections open, which asyncio warns about each time one over TLS ends.
    logging.getLogger("asyncio").setLevel(logging.ERROR)


def _named(service: str) -> Any:
    def add(_logger: object, _method: str, event: Any) -> Any:
        event["service"] = service
        return event

    return add

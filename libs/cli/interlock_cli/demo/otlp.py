"""A receiver of traces over OTLP/HTTP (opentelemetry-proto, ``ExportTraceServiceRequest``), in this process."""

import gzip
import threading
from collections import defaultdict
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

_MAX_BODY = 16 * 1024 * 1024
_MILLION = 1_000_000
_EMPTY = ExportTraceServiceResponse().SerializeToString()


@dataclass(frozen=True)
class SeenSpan:
    """A span as it arrived; ids in hex, times in milliseconds since the epoch."""

    service: str
    name: str
    span_id: str
    parent_id: str
    start: float
    ms: float


class OtlpReceiver:
    """Listens on a free port of this machine while the block runs, and keeps the spans of each trace."""

    def __init__(self) -> None:
        self._traces: defaultdict[str, dict[str, SeenSpan]] = defaultdict(dict)
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True

    @property
    def traces_endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="otlp receiver", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def spans(self, trace_id: str) -> list[SeenSpan]:
        """What has arrived of a trace so far, oldest start first."""
        with self._lock:
            return sorted(self._traces.get(trace_id, {}).values(), key=lambda span: span.start)

    def take(self, body: bytes) -> None:
        """Keep the spans of one export; raises DecodeError for anything else."""
        request = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            for resource in request.resource_spans:
                names = (a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
                service = next(names, "unknown")
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        began = span.start_time_unix_nano / _MILLION
                        seen = SeenSpan(
                            service, span.name, span.span_id.hex(), span.parent_span_id.hex(),
                            began, span.end_time_unix_nano / _MILLION - began,
                        )  # fmt: skip
                        self._traces[span.trace_id.hex()][seen.span_id] = seen


def _handler_of(receiver: OtlpReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers ``POST /v1/traces``."""

        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", 0))
            if self.path != "/v1/traces" or length > _MAX_BODY:
                self._answer(404 if length <= _MAX_BODY else 413)
                return
            body = self.rfile.read(length)
            try:
                receiver.take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            except (DecodeError, OSError, EOFError):
                self._answer(400)
                return
            self._answer(200)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(_EMPTY)))
            self.end_headers()
            self.wfile.write(_EMPTY)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Nothing: the demo's output is its table."""

    return Handler

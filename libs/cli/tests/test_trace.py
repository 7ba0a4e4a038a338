import gzip
import urllib.error
import urllib.request

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.console import Console

from interlock_cli.demo import tree
from interlock_cli.demo.otlp import OtlpReceiver, SeenSpan

TRACE, ROOT, LEAF = b"\x01" * 16, b"\x02" * 8, b"\x03" * 8


def export() -> bytes:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "gateway"
    spans = resource.scope_spans.add().spans
    spans.add(trace_id=TRACE, span_id=ROOT, name="tools/call", start_time_unix_nano=10**6, end_time_unix_nano=3 * 10**6)
    spans.add(trace_id=TRACE, span_id=LEAF, parent_span_id=ROOT, name="hook", start_time_unix_nano=2 * 10**6)
    return request.SerializeToString()


def post(receiver: OtlpReceiver, body: bytes, **headers: str) -> int:
    request = urllib.request.Request(receiver.traces_endpoint, data=body, headers=headers)  # noqa: S310 - our own
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - our own
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.parametrize("compressed", [False, True])
def test_spans_arrive_whole(compressed: bool) -> None:
    with OtlpReceiver() as receiver:
        body = gzip.compress(export()) if compressed else export()
        assert post(receiver, body, **({"Content-Encoding": "gzip"} if compressed else {})) == 200
        root, leaf = receiver.spans(TRACE.hex())
    assert (root.service, root.name, root.parent_id, root.ms) == ("gateway", "tools/call", "", 2.0)
    assert leaf.parent_id == root.span_id


def test_what_is_no_export_is_refused() -> None:
    with OtlpReceiver() as receiver:
        assert post(receiver, b"\xff\xff\xff") == 400
        assert post(receiver, b"no gzip", **{"Content-Encoding": "gzip"}) == 400


def span(service: str, span_id: str, parent: str = "") -> SeenSpan:
    return SeenSpan(service, f"work of {service}", span_id, parent, 0.0, 1.5)


def test_a_tree_shows_each_span_below_its_cause() -> None:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(tree.tree_of([span("client", "1"), span("gateway", "2", "1"), span("plugins", "3", "2")]))
    lines = capture.get().splitlines()
    depths = [line.index("work") for line in lines]
    assert depths == sorted(set(depths))
    assert "1.5 ms" in lines[2]


def test_a_trace_is_whole_only_with_all_services_and_all_parents() -> None:
    whole = [span("client", "1"), span("gateway", "2", "1")]
    assert tree.problems(whole, ["client", "gateway"]) == []
    assert tree.problems(whole, ["audit"]) == ["no span of audit"]
    assert tree.problems([span("gateway", "2", "1")], []) == ["the parent of gateway's work of gateway is unknown"]
    assert "2 roots" in tree.problems([span("a", "1"), span("b", "2")], [])[0]

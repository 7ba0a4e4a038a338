import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import context, trace

from interlock_common import telemetry
from interlock_common.messages.auth import Login

JWT = "eyJhbGciOiJFZERTQSIsImtpZCI6ImsxIn0.eyJzdWIiOiJhZGFAZXhhbXBsZS5jb20ifQ.c2lnbmF0dXJlLXMzY3JldA"
OPAQUE = "s3cret-s3cret-s3cret"
PARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def line_of(**event: Any) -> str:
    """What a log line would have of ``event``."""
    redacted = telemetry.redact(None, "info", event)
    return str(structlog.processors.JSONRenderer()(None, "info", redacted))


@dataclass
class Credentials:
    user: str
    password: str


@pytest.mark.parametrize(
    "event",
    [
        {"event": f"called with Bearer {OPAQUE}"},
        {"event": f"called with bearer  {OPAQUE}"},
        {"event": f"Authorization: Basic {OPAQUE}"},
        {"event": f"token {JWT} was refused"},
        {"error": f'{{"access_token": "{JWT}"}}'},
        {"password": OPAQUE},
        {"admin_password": OPAQUE},
        {"PASSWD": OPAQUE},
        {"client_secret": [OPAQUE]},
        {"jwt_secret_key": OPAQUE.encode()},
        {"api_key": {"value": OPAQUE}},
        {"token": OPAQUE},
        {"private_key": OPAQUE},
        {"headers": {"Authorization": f"Bearer {OPAQUE}", "Cookie": OPAQUE}},
        {"headers": [["authorization", OPAQUE], ["x", "y"]]},
        {"headers": [(b"authorization", f"Bearer {OPAQUE}".encode()), (b"cookie", OPAQUE.encode())]},
        {"items": [[{"deep": ({"password": OPAQUE},)}]]},
        {"items": [f"Bearer {OPAQUE}", {"x": JWT}]},
        {"items": {f"Bearer {OPAQUE}"}},
        {"body": f"Bearer {OPAQUE}".encode()},
        {"error": ValueError(f"Bearer {OPAQUE} is bad")},
        {"error": ValueError(f"password={OPAQUE}")},
        {"error": f'{{"password": "{OPAQUE}", "user": "ada"}}'},
        {"error": f"{{'password': 'a {OPAQUE}'}}"},
        {"request": Login("ada@example.com", OPAQUE)},
        {"request": Credentials("ada", OPAQUE)},
        {"url": f"postgresql://interlock:{OPAQUE}@db.example/auth"},
        {"error": f"cannot connect to nats://:{OPAQUE}@bus:4222"},
        {"exception": f"Traceback …\n  password='{OPAQUE}'\nValueError: {JWT}"},
    ],
)
def test_no_secret_reaches_a_log_line(event: dict[str, Any]) -> None:
    line = line_of(**event)
    assert "s3cret" not in line
    assert "c2lnbmF0dXJl" not in line
    assert "[redacted]" in line


def test_what_is_no_secret_stays() -> None:
    event = {
        "event": "served", "token_id": "t-1", "records": 3, "ok": True, "none": None, "ratio": 0.5,
        "names": ["a", "b", "c"], "url": "https://gateway.example:4444/mcp?x=1", "subject": "svc.auth.token.create",
        "error": "the token has expired", "nested": {"principal": "ada@example.com"},
    }  # fmt: skip
    assert json.loads(line_of(**event)) == event


@given(
    st.recursive(
        st.just(JWT) | st.just(f"Bearer {OPAQUE}") | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=5), inner, max_size=3)
            | st.tuples(inner, inner)
        ),
    )
)
def test_no_shape_hides_a_token(value: Any) -> None:
    line = line_of(value=value)
    assert JWT not in line
    assert OPAQUE not in line


def test_redaction_changes_nothing_that_the_program_goes_on_with() -> None:
    headers = {"authorization": OPAQUE, "list": [OPAQUE]}
    line_of(headers=headers)
    assert headers == {"authorization": OPAQUE, "list": [OPAQUE]}


PROGRAM = f"""
import logging, structlog
from interlock_common import telemetry
telemetry.configure_logs("auth", "DEBUG")
log = structlog.get_logger()
log.info("called", headers=[["Authorization", "Bearer {OPAQUE}"]], attempt=1)
logging.getLogger("library").warning("sent %s with password=%s", "Bearer {OPAQUE}", "{OPAQUE}")
try:
    raise ValueError("{JWT}")
except ValueError:
    log.exception("failed")
    logging.getLogger("library").exception("failed too")
"""


async def test_every_line_of_a_process_is_json_without_secrets() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = (await process.communicate())[0].decode()
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["event"].split()[0] for line in lines] == ["called", "sent", "failed", "failed"]
    assert all(line["service"] == "auth" and line["level"] and line["timestamp"] for line in lines)
    assert "ValueError" in lines[2]["exception"]
    assert "ValueError" in lines[3]["exception"]
    assert "s3cret" not in output
    assert "c2lnbmF0dXJl" not in output


def test_a_call_without_context_gets_a_trace_of_its_own_and_others_keep_theirs() -> None:
    def ids(headers: dict[str, str]) -> tuple[str, str]:
        token = context.attach(telemetry.continue_or_begin(headers))
        try:
            return telemetry.current_ids()
        finally:
            context.detach(token)

    assert ids({"traceparent": PARENT}) == ("a" * 32, "b" * 16)
    first, second = ids({}), ids({"traceparent": "nonsense"})
    assert len(first[0]) == len(second[0]) == 32
    assert first != second
    assert telemetry.current_ids() == ("", "")


def test_the_context_survives_headers_and_records() -> None:
    carried = telemetry.inject({}, telemetry.extract({"traceparent": PARENT}))
    assert carried == {"traceparent": PARENT}
    remote = trace.get_current_span(telemetry.remote_context("a" * 32, "b" * 16)).get_span_context()
    assert (remote.trace_id, remote.span_id, remote.is_remote) == (int("a" * 32, 16), int("b" * 16, 16), True)
    assert telemetry.inject({}, telemetry.extract(None)) == {}


def test_exports_are_asked_for_by_the_standard_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert not telemetry.exporting()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://x")
    assert telemetry.exporting("TRACES")
    assert not telemetry.exporting("METRICS")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not telemetry.exporting()


def test_a_struct_that_is_logged_can_still_be_sent() -> None:
    login = Login("ada@example.com", OPAQUE)
    line_of(request=login)
    assert OPAQUE in msgspec.json.encode(login).decode()

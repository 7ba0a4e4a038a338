"""What ``_meta`` of a request says when it leaves."""

import msgspec
import pytest

from interlock_common.messages.gateway import Session
from interlock_gateway.revisions import META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL, META_VERSION, MODERN
from interlock_gateway.testing.servers import upstream_at
from interlock_gateway.upstream_meta import meta_for

MODERN_UPSTREAM = upstream_at("http://unused.example")
LEGACY_UPSTREAM = upstream_at("http://unused.example", era="legacy", protocol_version="2025-11-25")


def session(level: str = "") -> tuple[str, Session]:
    return ("k", Session("ada", "2025-11-25", 0, capabilities=msgspec.Raw(b'{"roots":{}}'), log_level=level))


def said(meta: dict[str, msgspec.Raw]) -> dict[str, object]:
    return {key: msgspec.json.decode(raw) for key, raw in meta.items() if key not in {"traceparent", "tracestate"}}


def test_an_upstream_of_the_handshake_era_is_told_nothing_of_the_other() -> None:
    meta = {META_VERSION: msgspec.Raw(b'"x"'), META_CAPABILITIES: msgspec.Raw(b"{}"), META_CLIENT: msgspec.Raw(b"{}")}
    assert said(meta_for(LEGACY_UPSTREAM, meta | {"mine": msgspec.Raw(b"1.0")}, None)) == {"mine": 1.0}


@pytest.mark.parametrize(("level", "becomes"), [("", {}), ("error", {META_LOG_LEVEL: "error"})])
def test_the_level_of_a_session_goes_along_and_what_its_client_put_there_does_not(
    level: str, becomes: dict[str, object]
) -> None:
    meta = {META_LOG_LEVEL: msgspec.Raw(b"7")}
    assert said(meta_for(LEGACY_UPSTREAM, meta, session(level))) == becomes


def test_an_upstream_of_the_stateless_era_is_told_what_a_session_was_told_once() -> None:
    assert said(meta_for(MODERN_UPSTREAM, {}, session("error"))) == {
        META_VERSION: MODERN, META_CAPABILITIES: {"roots": {}}, META_LOG_LEVEL: "error",
    }  # fmt: skip
    assert said(meta_for(MODERN_UPSTREAM, {}, session()))[META_LOG_LEVEL] == "info"

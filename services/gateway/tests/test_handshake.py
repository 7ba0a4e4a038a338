"""What a client says of itself when its session begins, and what it is told."""

from typing import Any

import msgspec
import pytest

from interlock_gateway.handshake import read_initialize
from interlock_gateway.jsonrpc import RpcError


def said(**changes: Any) -> msgspec.Raw:
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    return msgspec.Raw(msgspec.json.encode(params | changes))


@pytest.mark.parametrize(
    ("asked", "spoken"),
    [("2025-03-26", "2025-03-26"), ("2024-11-05", "2025-11-25"), ("2099-01-01", "2025-11-25")],
)
def test_a_revision_we_do_not_speak_is_answered_with_our_newest(asked: str, spoken: str) -> None:
    assert read_initialize(said(protocolVersion=asked)).version == spoken


@pytest.mark.parametrize("member", ["capabilities", "clientInfo"])
def test_a_client_cannot_have_every_edge_remember_as_much_as_it_likes(member: str) -> None:
    assert read_initialize(said(**{member: {"x": "y" * 16_000}})).protocol_version
    with pytest.raises(RpcError) as refused:
        read_initialize(said(**{member: {"x": "y" * 17_000}}))
    assert (refused.value.status, refused.value.error.code) == (400, -32602)


@pytest.mark.parametrize("params", [b"{}", b"[]", b'{"protocolVersion":5}'])
def test_what_is_no_initialize_is_refused(params: bytes) -> None:
    with pytest.raises(RpcError):
        read_initialize(msgspec.Raw(params))

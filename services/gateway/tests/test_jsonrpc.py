import msgspec
import pytest

from interlock_gateway import jsonrpc
from interlock_gateway.jsonrpc import RpcError


def message(**members: str) -> bytes:
    parts = {"jsonrpc": '"2.0"', "id": "1", "method": '"ping"'} | members
    return ("{" + ",".join(f'"{name}":{value}' for name, value in parts.items() if value) + "}").encode()


@pytest.mark.parametrize(
    "written",
    ["0", '""', "null", "-1", "1.5", "1.0", '"a\\"b"', '"é"', str(2**64), str(-(2**70)), "18446744073709551615"],
)
def test_an_id_comes_back_as_it_was_written(written: str) -> None:
    envelope = jsonrpc.parse(message(id=written))
    assert not isinstance(envelope.id, msgspec.UnsetType)
    assert jsonrpc.answer(envelope.id, b"{}") == f'{{"jsonrpc":"2.0","id":{written},"result":{{}}}}'.encode()


@pytest.mark.parametrize("written", ["true", "[]", "{}", "1e999"])
def test_other_ids_are_refused(written: str) -> None:
    with pytest.raises(RpcError) as refused:
        jsonrpc.parse(message(id=written))
    assert (refused.value.error.code, refused.value.status) == (jsonrpc.INVALID_REQUEST, 400)


def test_a_message_without_id_is_a_notification_and_one_with_null_is_not() -> None:
    assert jsonrpc.parse(message(id="")).id is msgspec.UNSET
    assert jsonrpc.parse(message(id="null")).id is None


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nonsense", b"{'a':1}", b'{"jsonrpc":"2.0","id":NaN}', b"\xef\xbb\xbf{}", b"\x00", message() + b"}",
     message(method='"\\ud800"'), message(method='"p\xff"').decode().encode("latin-1"),
     message(params='{"a":"\xff"}').decode().encode("latin-1"), b'{"jsonrpc":"2.0","method":"a","x":"\xc0\x80"}',
     b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_json_is_a_parse_error(body: bytes) -> None:
    with pytest.raises(RpcError) as refused:
        jsonrpc.parse(body)
    assert refused.value.status == 400
    assert refused.value.error.code in {jsonrpc.PARSE_ERROR, jsonrpc.INVALID_REQUEST}
    if not body.startswith(b"["):
        assert refused.value.error.code == jsonrpc.PARSE_ERROR


@pytest.mark.parametrize(
    "body",
    [b"[]", b"[" + message() + b"]", b"1", b"null", b'"ping"', b"{}", message(jsonrpc='"1.0"'), message(jsonrpc="2"),
     message(method="1")],
)  # fmt: skip
def test_batches_and_other_shapes_are_no_requests(body: bytes) -> None:
    with pytest.raises(RpcError) as refused:
        jsonrpc.parse(body)
    assert refused.value.error.code == jsonrpc.INVALID_REQUEST


@pytest.mark.parametrize("params", ["null", "[]", "1", '"x"', "[" * 900 + "]" * 900])
def test_params_are_an_object(params: str) -> None:
    with pytest.raises(RpcError) as refused:
        jsonrpc.members(jsonrpc.parse(message(params=params)).params)
    assert refused.value.error.code == jsonrpc.INVALID_PARAMS


def test_deep_nesting_is_refused_and_never_an_accident() -> None:
    for depth in (100, 1_000, 10_000, 200_000):
        try:
            jsonrpc.members(jsonrpc.parse(message(params='{"a":' * depth + "1" + "}" * depth)).params)
        except RpcError as refused:
            assert refused.status == 400  # noqa: PT017 - shallow ones pass


def test_params_and_results_are_not_rewritten() -> None:
    written = b'{"z":1.0,"a":1e2,"big":123456789012345678901234567890,"a":"\\u00e9\\/"}'
    envelope = jsonrpc.parse(message(params=written.decode()))
    assert bytes(envelope.params) == written
    assert written in jsonrpc.request(1, "x", bytes(envelope.params))


@pytest.mark.parametrize("nested", [b"[" * 5000 + b"]" * 5000, b'{"a":' * 200 + b"1" + b"}" * 200, b"[" * 5000])
def test_what_nests_too_deep_is_refused_before_it_is_decoded(nested: bytes) -> None:
    with pytest.raises(RpcError, match="nests deeper than 128 levels") as refused:
        jsonrpc.parse_request(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":%s}}' % nested)
    assert refused.value.status == 400


def test_many_brackets_side_by_side_are_not_deep() -> None:
    flat = b",".join([b"[]"] * 500)
    assert jsonrpc.parse_request(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":[%s]}}' % flat)

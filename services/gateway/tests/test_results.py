import json

import pytest

from interlock_gateway.results import RECORD_META, finish

RECORD = b'"_meta":{"dev.interlock/audit":"r-1"}'
ODD = b'"z":1.0,"a":1e2,"n":123456789012345678901234567890,"t":"\\u00e9\\/\\ud83d\\ude00","z":2,"l":[ 1 , 2.50 ]'


def answered(result: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":7,"result":' + result + b"}"


@pytest.mark.parametrize(
    ("modern", "result", "expected"),
    [
        (False, b"{}", b"{" + RECORD + b"}"),
        (True, b"{}", b'{"resultType":"complete",' + RECORD + b"}"),
        (False, b"{ }", b"{" + RECORD + b" }"),
        (False, b"{" + ODD + b"}", b"{" + RECORD + b"," + ODD + b"}"),
        (True, b"{" + ODD + b"}", b'{"resultType":"complete",' + RECORD + b"," + ODD + b"}"),
        (True, b'{"resultType":"input_required"}', b"{" + RECORD + b',"resultType":"input_required"}'),
        (False, b"[1.0]", b"[1.0]"),
        (True, b"null", b"null"),
    ],
)
def test_the_bytes_of_a_result_stay_as_they_are(result: bytes, expected: bytes, *, modern: bool) -> None:
    assert finish(result, 7, "r-1", modern=modern).message == answered(expected)


def test_the_record_joins_a_meta_that_is_there_and_no_value_is_rewritten() -> None:
    own = b'{"x":1.0,"progress":{"a":1e2}}'
    message = finish(b'{"content":[ 1.50 ],"_meta":' + own + b',"n":1.0}', 7, "r-1", modern=True).message
    assert message == answered(
        b'{"resultType":"complete","content":[ 1.50 ],'
        b'"_meta":{"x":1.0,"progress":{"a":1e2},"dev.interlock/audit":"r-1"},"n":1.0}'
    )


def test_an_upstream_cannot_name_its_own_record() -> None:
    forged = b'{"_meta":{"dev.interlock/audit":"forged"}}'
    message = json.loads(finish(forged, 7, "r-1", modern=False).message)
    assert message["result"]["_meta"] == {RECORD_META: "r-1"}


@pytest.mark.parametrize("meta", [b"null", b"[]", b"1", b'"x"'])
def test_a_meta_that_is_no_object_is_replaced(meta: bytes) -> None:
    message = finish(b'{"a":1.0,"_meta":' + meta + b"}", 7, "r-1", modern=False).message
    assert message == answered(b'{"a":1.0,' + RECORD + b"}")


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (b"{}", "ok"),
        (b'{"isError":false}', "ok"),
        (b'{"isError":true}', "tool_error"),
        (b'{"isError":true,"_meta":{}}', "tool_error"),
        (b'{"resultType":"input_required","requestState":"x"}', "input_required"),
    ],
)
def test_what_a_result_comes_to_is_seen(result: bytes, outcome: str) -> None:
    assert finish(result, 7, "r-1", modern=True).outcome == outcome

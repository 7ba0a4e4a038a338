import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock_gateway.uris import Template, public_uri, rewrite_result


def rename(uri: str) -> str:
    return public_uri("notes", uri)


@pytest.mark.parametrize(
    ("template", "uri", "fits"),
    [
        ("test://t/{id}/data", "test://t/123/data", True),
        ("test://t/{id}/data", "test://t/1/2/data", False),
        ("test://t/{id}/data", "test://t/1/dat", False),
        ("file:///{+path}", "file:///a/b/c", True),
        ("db://{table}/{key}", "db://a/b", True),
        ("db://{table}/{key}", "db://a", False),
        ("find://{?q,n}", "find://?q=1&n=2", True),
        ("plain://x", "plain://x", True),
        ("plain://x", "plain://xy", False),
        ("{a}{b}", "anything", True),
        ("broken{", "broken{", True),
    ],
)
def test_a_uri_fits_its_template(template: str, uri: str, *, fits: bool) -> None:
    assert Template.parse(template).matches(uri) is fits


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_template_takes_any_uri_and_ends(template: str, uri: str) -> None:
    Template.parse(template).matches(uri)


def test_a_hostile_template_costs_no_more_than_its_length() -> None:
    assert Template.parse("{+a}x" * 400).matches("x" * 4000 + "y") is False


def test_uris_of_resources_are_renamed_wherever_they_stand_and_other_bytes_stay() -> None:
    result = (
        b'{"content":[{"type":"resource_link","uri":"f:///a","name":"a"},{"type":"text","text":"\\"uri\\" f:///a",'
        b'"n":1.0},{"type":"resource","resource":{"uri":"f:///b","text":"x"}}],"structuredContent":{"uri":"f:///c"},'
        b'"isError":false}'
    )
    expected = (
        result.replace(b'"uri":"f:///a"', b'"uri":"notes+f:///a"').replace(b'"uri":"f:///b"', b'"uri":"notes+f:///b"')
    )  # fmt: skip
    assert rewrite_result(result, rename) == expected


def test_contents_and_messages_are_renamed_too() -> None:
    contents = rewrite_result(b'{"contents":[{"uri":"f:///a","text":"x"},{"uri":"f:///b","blob":""}]}', rename)
    assert [each["uri"] for each in msgspec.json.decode(contents)["contents"]] == ["notes+f:///a", "notes+f:///b"]
    prompt = (
        b'{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"f:///a"}}},'
        b'{"role":"user","content":[{"type":"resource_link","uri":"f:///b"}]}]}'
    )
    one, several = msgspec.json.decode(rewrite_result(prompt, rename))["messages"]
    assert one["content"]["resource"]["uri"] == "notes+f:///a"
    assert several["content"][0]["uri"] == "notes+f:///b"


ODD = (b'{"content":"uri"}', b'{"content":[1,"\\"uri\\"",null]}', b'{"contents":{"uri":"x"}}')


@pytest.mark.parametrize("odd", ODD)
def test_what_is_of_another_shape_stays_as_it_is(odd: bytes) -> None:
    assert msgspec.json.decode(rewrite_result(odd, rename)) == msgspec.json.decode(odd)

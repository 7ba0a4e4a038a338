import msgspec
import pytest

from interlock_common.messages.catalog import VirtualServer
from interlock_common.sealing import Sealer
from interlock_gateway.jsonrpc import RpcError
from interlock_gateway.listing import Listing
from interlock_gateway.offers import Offer
from interlock_gateway.testing.callers import ROOT, a_caller
from interlock_gateway.testing.servers import upstream_at

FIRST = upstream_at("http://x/", *(f"t{n}" for n in range(5)))
SECOND = upstream_at("http://y/", "a", "b", id="u2", name="other", slug="other")
HIDDEN = upstream_at("http://z/", "secret", id="u3", name="nx", slug="nx", visibility="private")
LISTING = Listing(Sealer(b"secret"), 3)


def pages(offer: Offer, method: str = "tools/list") -> list[list[str]]:
    found: list[list[str]] = []
    params: dict[str, msgspec.Raw] = {}
    while True:
        page = msgspec.json.decode(LISTING.page(method, offer, a_caller(), params, modern=True))
        found.append([tool["name"] for tool in page["tools"]])
        if "nextCursor" not in page:
            return found
        params = {"cursor": msgspec.Raw(msgspec.json.encode(page["nextCursor"]))}


def test_pages_follow_one_another_without_gap_or_repetition() -> None:
    offer = Offer(None, [FIRST, SECOND, HIDDEN])
    assert pages(offer) == [
        ["notes-t0", "notes-t1", "notes-t2"], ["notes-t3", "notes-t4", "other-a"], ["other-b"],
    ]  # fmt: skip


def test_a_page_that_is_just_full_has_no_next_one() -> None:
    assert pages(Offer(None, [upstream_at("http://x/", "a", "b", "c")])) == [["notes-a", "notes-b", "notes-c"]]


def test_what_is_quarantined_is_not_listed() -> None:
    tools = (msgspec.structs.replace(FIRST.tools[0], standing="quarantined"), *FIRST.tools[1:2])
    assert pages(Offer(None, [msgspec.structs.replace(FIRST, tools=tools)])) == [["notes-t1"]]


@pytest.mark.parametrize("cursor", [b'""', b'"x"', b"7", b"null"])
def test_a_cursor_that_is_not_ours_is_refused(cursor: bytes) -> None:
    with pytest.raises(RpcError) as refused:
        LISTING.page("tools/list", Offer(None, [FIRST]), a_caller(), {"cursor": msgspec.Raw(cursor)}, modern=True)
    assert refused.value.error.code == -32602


def test_a_cursor_counts_only_for_the_list_and_the_endpoint_it_was_made_for() -> None:
    everything = Offer(None, [FIRST])
    page = msgspec.json.decode(LISTING.page("tools/list", everything, a_caller(), {}, modern=False))
    params = {"cursor": msgspec.Raw(msgspec.json.encode(page["nextCursor"]))}
    LISTING.page("tools/list", everything, a_caller(), params, modern=False)
    server = Offer(VirtualServer("s1", "s", ROOT, upstreams=("u1",)), [FIRST])
    for method, offer in (("prompts/list", everything), ("tools/list", server)):
        with pytest.raises(RpcError):
            LISTING.page(method, offer, a_caller(), params, modern=False)

"""How the catalog reaches upstreams: with their credential, guarded, and by the way that each kind has."""

from collections.abc import AsyncGenerator
from typing import Any, cast

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from interlock_common.errors import UpstreamFailed
from interlock_common.messages.catalog import Credential, Kind, Upstream
from interlock_common.testing.clock import ManualClock
from interlock_gateway.catalog.reaching import Reaching
from interlock_gateway.upstreams.addresses import AddressPolicy, upstream_connector
from interlock_gateway.upstreams.credentials import Credentials, Headers
from interlock_gateway.upstreams.discovery.exchange import UpstreamUnusable
from interlock_gateway.upstreams.tls import TlsContexts


class Tickets:
    """A credential that is good once: a new one has to be got after each refusal."""

    def __init__(self) -> None:
        self.number = 0

    async def headers(self, upstream: Upstream, principal: str) -> Headers:
        assert principal == upstream.owner
        return {"X-Ticket": str(self.number)}

    def invalid(self, upstream: Upstream, principal: str, challenge: str) -> bool:
        del upstream, principal, challenge
        self.number += 1
        return True


@pytest.fixture
async def guarded() -> AsyncGenerator[str]:
    """A server that lets in whoever shows ticket 1."""

    async def handler(request: web.Request) -> web.Response:
        if request.headers.get("X-Ticket") != "1":
            return web.Response(status=401)
        message = cast("dict[str, Any]", msgspec.json.decode(await request.read()))
        result: dict[str, Any] = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "tools": []}
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    app = web.Application()
    app.router.add_post("/mcp", handler)
    server = TestServer(app)
    await server.start_server()
    yield str(server.make_url("/mcp"))
    await server.close()


def upstream(url: str, *, kind: Kind = "http", credential: str = "none") -> Upstream:
    return Upstream("u1", "Notes", "notes", url, "modern", "2026-07-28", "me", transport=kind,
                    credential=Credential(cast("Any", credential)))  # fmt: skip


def reaching(http: aiohttp.ClientSession, *, allow_private: bool = True) -> Reaching:
    credentials = Credentials({"client_credentials": Tickets()})
    policy = AddressPolicy(allow_private=allow_private)
    return Reaching(http, policy, TlsContexts(ManualClock()), credentials, {}, 10)


async def test_a_credential_that_is_refused_is_got_anew_once(http: aiohttp.ClientSession, guarded: str) -> None:
    reach = reaching(http)
    assert (await reach(upstream(guarded, credential="client_credentials"))).era == "modern"
    with pytest.raises(UpstreamUnusable, match="credential"):
        await reach(upstream(guarded))


async def test_a_partial_look_asks_for_nothing_else(http: aiohttp.ClientSession, guarded: str) -> None:
    found = await reaching(http)(upstream(guarded, credential="client_credentials"), frozenset({"tool"}))
    assert (found.asked, found.tools) == ({"tool"}, ())


async def test_a_kind_without_a_way_is_told_so(http: aiohttp.ClientSession) -> None:
    with pytest.raises(UpstreamFailed, match="stdio"):
        await reaching(http)(upstream("", kind="stdio"))


async def test_a_private_address_is_refused_unless_allowed(guarded: str) -> None:
    policy = AddressPolicy()
    async with aiohttp.ClientSession(connector=upstream_connector(allow_private=False, policy=policy)) as http:
        for url in (
            guarded,
            guarded.replace("127.0.0.1", "localhost"),
            guarded.replace("127.0.0.1", "[::ffff:127.0.0.1]"),
        ):
            with pytest.raises(UpstreamFailed) as caught:
                await reaching(http, allow_private=False)(upstream(url))
            assert caught.value.fields["cause"] == "address"

"""Pages of others do not call, sockets open to nobody without a token, and no upstream leads into the own network."""

import asyncio

import aiohttp
import pytest

from stories.attack_table import Expected, code_of
from stories.attackers import TOOL, Ground, bearer, marked
from stories.load import modern_call

ORIGINS = [
    "https://attacker.example", "null", "http://127.0.0.1.attacker.example", "https://localhost.attacker.example",
    "http://attacker.example:4444", "file://", "", "http://localhost@attacker.example",
    "chrome-extension://abcdefghijklmnop",
]  # fmt: skip


@pytest.mark.attack("a call from a page (CSRF) of the origin", 403, "permission_denied")
@pytest.mark.parametrize("origin", ORIGINS, ids=[origin or "empty" for origin in ORIGINS])
def test_a_page_of_others_calls_nothing(ground: Ground, expected: Expected, origin: str) -> None:
    marker = marked()
    answer = ground.call(bearer(ground.stage.token) | {"Origin": origin}, marker)
    ground.refused(answer, expected)
    assert not ground.left(marker)
    with ground.as_(None) as client:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        told = client.options("/mcp", headers=asked)
    assert "access-control-allow-origin" not in told.headers


@pytest.mark.attack("a call from a page whose name leads here (DNS rebinding)", 403, "permission_denied")
def test_a_name_that_was_made_to_lead_here_is_no_origin_of_ours(ground: Ground, expected: Expected) -> None:
    """DNS rebinding: the page and the Host header name the attacker, the address is ours."""
    marker = marked()
    forged = {"Host": "attacker.example:4444", "Origin": "http://attacker.example:4444"}
    ground.refused(ground.call(bearer(ground.stage.token) | forged, marker), expected)
    assert not ground.left(marker)


@pytest.mark.attack("a call by a form of another site (CSRF), with the token in a cookie", 403, "permission_denied")
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_what_a_form_can_send_brings_no_credential(ground: Ground, expected: Expected, kind: str) -> None:
    """Without the header that only a script of an allowed page could set, cookies and all."""
    marker = marked()
    sent = {"Content-Type": kind, "Cookie": f"access_token={ground.stage.token}", "Sec-Fetch-Site": "cross-site"}
    ground.refused(ground.call(sent, marker), expected)
    assert not ground.left(marker)


SOCKETS: dict[str, tuple[str, dict[str, str], int]] = {
    "no token": ("/ws", {}, 401),
    "a token in the address": ("/ws?access_token={token}&token={token}", {}, 401),
    "a token in a cookie": ("/ws", {"Cookie": "access_token={token}"}, 401),
    "a token as subprotocol": ("/ws", {"Sec-WebSocket-Protocol": "mcp, bearer.{token}"}, 401),
    "a page of others": ("/ws", {"Authorization": "Bearer {token}", "Origin": "https://attacker.example"}, 403),
    "no page": ("/ws", {"Authorization": "Bearer {token}", "Origin": "null"}, 403),
    "a server that does not exist": ("/servers/nonesuch/ws", {"Authorization": "Bearer {token}"}, 404),
    "a server of others": ("/servers/attacked-red/ws", {"Authorization": "Bearer {bob}"}, 404),
}


@pytest.mark.attack("the handshake of a WebSocket")
@pytest.mark.parametrize(("path", "headers", "status"), SOCKETS.values(), ids=SOCKETS)
async def test_a_socket_opens_to_nobody_who_may_not(
    ground: Ground, path: str, headers: dict[str, str], status: int
) -> None:
    tokens = {"token": ground.stage.token, "bob": ground.bob.token}
    sent = [(name, value.format(**tokens)) for name, value in headers.items()]
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(ground.url + path.format(**tokens), headers=sent)
    assert refused.value.status == status


DIALLERS = {
    "without a token": ("nobody", 401),
    "of somebody without a role": ("carol", 403),
    "only read": ("narrow", 403),
}


@pytest.mark.attack("a server that dials in (403 as the code 4403 of the close)")
@pytest.mark.parametrize(("who", "status"), DIALLERS.values(), ids=DIALLERS)
async def test_no_tunnel_stands_without_permission(ground: Ground, who: str, status: int) -> None:
    narrow = ground.forger.token({"scopes": {"permissions": ["tools.read"]}, "sub": ground.bob.name})
    token = {"nobody": "", "carol": ground.carol.token, "narrow": narrow}[who]
    headers = bearer(token) if token else {}
    async with asyncio.timeout(10), aiohttp.ClientSession() as session:
        try:
            socket = await session.ws_connect(f"{ground.url}/reverse-proxy/ws?name=evil", headers=headers)
        except aiohttp.WSServerHandshakeError as error:
            refused_with = error.status
        else:
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
            refused_with = (socket.close_code or 0) - 4000
            await socket.close()
    assert refused_with == status
    with ground.as_(ground.stage.token) as admin:
        assert admin.get("/reverse-proxy/sessions").raise_for_status().json() == []
        assert "evil" not in {each["name"] for each in admin.get("/gateways").raise_for_status().json()}


ADDRESSES = {
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "metadata in IPv6": "http://[fd00:ec2::254]/latest/",
    "metadata, mapped": "http://[::ffff:169.254.169.254]/",
    "metadata over NAT64": "http://[64:ff9b::a9fe:a9fe]/",
    "metadata of another cloud": "http://100.100.100.200/",
    "metadata as a number": "http://2852039166/",
    "metadata in hex": "http://0xa9fea9fe/",
    "metadata in octal": "http://0251.0376.0251.0376/",
    "a private network": "http://10.0.0.1/mcp",
    "another private network": "http://192.168.0.1/mcp",
    "a third private network": "http://172.16.0.1/mcp",
    "carrier NAT": "http://100.64.0.1/mcp",
    "metadata in few parts": "http://169.16689662/",
    "this machine in few parts": "http://127.2:{port}/mcp",
    "this machine": "http://127.0.0.2:{port}/mcp",
    "this machine in IPv6": "http://[::1]:{port}/mcp",
    "any address": "http://0.0.0.0:{port}/mcp",
    "multicast": "http://224.0.0.1/mcp",
    "link-local": "http://169.254.1.1/mcp",
}


@pytest.mark.attack("an upstream at an address of the own network", 502, "upstream_address_forbidden")
@pytest.mark.parametrize("url", ADDRESSES.values(), ids=ADDRESSES)
def test_no_upstream_leads_into_the_own_network(ground: Ground, expected: Expected, url: str) -> None:
    body = {"name": "inside", "url": url.format(port=ground.stage.deployment.ports["public"])}
    with ground.as_(ground.bob.token) as client:
        answer = client.post("/gateways", json=body)
        listed = {each["name"] for each in client.get("/gateways").raise_for_status().json()}
    expected.check(answer)
    assert "inside" not in listed


NO_URLS = {
    "a file": "file:///etc/passwd",
    "another scheme": "gopher://127.0.0.1/_x",
    "a credential in the address": "http://user:secret@127.0.0.1/mcp",
    "no host": "http:///mcp",
}


@pytest.mark.attack("an upstream that is no address of one", 400, "invalid_url")
@pytest.mark.parametrize("url", NO_URLS.values(), ids=NO_URLS)
def test_an_upstream_is_asked_over_http_only(ground: Ground, expected: Expected, url: str) -> None:
    with ground.as_(ground.bob.token) as client:
        expected.check(client.post("/gateways", json={"name": "inside", "url": url}))


def test_answers_to_credentials_are_not_kept(ground: Ground) -> None:
    with ground.as_(ground.stage.token) as client:
        for path in ("/tokens", "/users/me", "/gateways"):
            answer = client.get(path)
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "server" not in answer.headers


def test_an_error_tells_nothing_of_the_inside(ground: Ground) -> None:
    headers, body = modern_call(TOOL, {"text": 7}, 1)
    with ground.as_(ground.bob.token) as client:
        answers = [
            client.post("/mcp", headers=headers, json=body),
            client.get("/nonesuch"),
            client.put("/tokens", json={}),
        ]
    for answer in answers:
        assert "Traceback" not in answer.text
        assert "site-packages" not in answer.text
    assert code_of(answers[1]) == "not_found"

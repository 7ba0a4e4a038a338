"""What clients are told when their user has to consent first, and that nobody's token is used for anybody else."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.messages.audit import CallOutcome
from interlock_common.messages.catalog import Credential, Upstream
from interlock_common.sealing import Sealer
from interlock_common.testing.clock import ManualClock
from interlock_gateway.consents.consenting import URL_ELICITATION_REQUIRED, Consenting
from interlock_gateway.jsonrpc import INVALID_REQUEST, MISSING_CAPABILITY, RpcError
from interlock_gateway.revisions import META_CAPABILITIES
from interlock_gateway.testing.asking import Answer, ask, modern_call
from interlock_gateway.testing.callers import ADA, EVE
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.testing.grants import FakeGrants, FakeOnce
from interlock_gateway.testing.oauth import AuthorizationServer, ProtectedUpstream
from interlock_gateway.testing.servers import upstream_at
from interlock_gateway.testing.upstreams import http_over
from interlock_gateway.upstreams.addresses import AddressPolicy
from interlock_gateway.upstreams.dispatch import Upstreams
from interlock_gateway.upstreams.eras.wrapping import Eras
from interlock_gateway.upstreams.oauth.consents import Consents
from interlock_gateway.upstreams.oauth.grants import ConsentNeeded, Vault
from interlock_gateway.upstreams.oauth.token_endpoint import TokenEndpoints
from interlock_gateway.upstreams.oauth.user_tokens import UserTokens

SEALER = Sealer(b"secret")
URL_MODE: dict[str, Any] = {"elicitation": {"url": {}}}
NEEDED = ConsentNeeded("upstream notes waits for ada", upstream="notes", url="https://gateway.example/o", id="e1")


class Gateway:
    """An edge before an upstream that wants each user's own token."""

    def __init__(self, world: EdgeWorld, server: AuthorizationServer, upstream: Upstream) -> None:
        self.server, self.upstream, self.world = server, upstream, world
        self.grants = FakeGrants()
        self.endpoints = TokenEndpoints(AddressPolicy(allow_private=True))
        self.consents = Consents(
            lambda _id: upstream, self.grants, SEALER, self.endpoints, FakeOnce(), SYSTEM_CLOCK,
            base="https://gateway.example",
        )  # fmt: skip
        tokens = UserTokens(
            self.grants, Vault(SEALER), self.endpoints, SYSTEM_CLOCK, holder="e", link=self.consents.link
        )
        world.upstreams = Upstreams({"http": http_over(world.ways, oauth=tokens)}, Eras(world.holding))
        world.register(upstream)
        self.endpoint = world.endpoint()

    async def call(self, principal: str = ADA, capabilities: Any = URL_MODE, **params: Any) -> Answer:
        headers, body = modern_call(arguments={}, _meta={META_CAPABILITIES: capabilities}, **params)
        return await ask(self.endpoint, body, headers, token=self.world.signer.token(principal))

    async def consent(self, url: str) -> None:
        """As a browser that opens ``url`` and confirms."""
        state = parse_qs(urlsplit(url).query)["state"][0]
        place = await self.consents.begin("u1", state, "browser")
        await self.consents.finish(self.server.visit(place), "browser")


@pytest.fixture
async def gateway(world: EdgeWorld, serve: Any) -> Any:
    server = AuthorizationServer()
    server.issuer = (await serve(server)).removesuffix("/mcp")
    upstream = upstream_at(await serve(ProtectedUpstream(server)), credential=Credential("oauth"))
    gateway = Gateway(world, server, upstream)
    yield gateway
    await gateway.endpoints.close()


async def test_a_stateless_client_is_asked_to_open_a_page_and_its_retry_goes_through(
    gateway: Gateway, world: EdgeWorld
) -> None:
    first = (await gateway.call()).json()["result"]
    assert first["resultType"] == "input_required"
    asked = first["inputRequests"]["consent"]
    assert (asked["method"], asked["params"]["mode"]) == ("elicitation/create", "url")
    assert world.audit.of(CallOutcome)[-1].outcome == "input_required"
    await gateway.consent(asked["params"]["url"])
    answers = {"consent": {"action": "accept"}}
    retried = await gateway.call(requestState=first["requestState"], inputResponses=answers)
    assert retried.json()["result"]["content"][0]["text"] == "ada"


async def test_a_user_who_declined_is_not_asked_over_and_over(gateway: Gateway) -> None:
    first = (await gateway.call()).json()["result"]
    answers = {"consent": {"action": "decline"}}
    retried = await gateway.call(requestState=first["requestState"], inputResponses=answers)
    assert retried.json()["error"]["data"]["code"] == "consent_needed"


async def test_one_users_token_is_never_sent_for_another(gateway: Gateway) -> None:
    first = (await gateway.call()).json()["result"]
    await gateway.consent(first["inputRequests"]["consent"]["params"]["url"])
    assert (await gateway.call()).json()["result"]["content"][0]["text"] == "ada"
    of_eve = await gateway.call(EVE)
    assert of_eve.json()["result"]["resultType"] == "input_required"
    stolen = await gateway.call(EVE, requestState=first["requestState"], inputResponses={})
    assert "ada" not in stolen.body.decode().replace("ada@", "")
    assert ("u1", EVE) not in gateway.grants.kept


async def test_a_client_without_pages_learns_the_address_in_an_error(gateway: Gateway) -> None:
    declared: list[Any] = [{}, {"elicitation": {}}, {"elicitation": {"form": {}}}]
    for capabilities in declared:
        answer = await gateway.call(capabilities=capabilities)
        error = answer.json()["error"]
        assert (answer.status, error["code"]) == (400, MISSING_CAPABILITY)
        assert "https://gateway.example/oauth/upstreams/u1/start?state=" in error["message"]
        assert error["data"]["requiredCapabilities"] == {"elicitation": {"url": {}}}


async def test_no_token_is_in_a_record_a_log_or_an_answer(
    gateway: Gateway, world: EdgeWorld, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    first = await gateway.call()
    await gateway.consent(first.json()["result"]["inputRequests"]["consent"]["params"]["url"])
    good = await gateway.call()
    gateway.server.away = True
    gateway.server.access.clear()
    bad = await gateway.call()
    printed = capsys.readouterr()
    told = [first.body, good.body, bad.body, msgspec.json.encode(world.audit.records)]
    text = b"".join(told).decode() + caplog.text + printed.out + printed.err
    for secret in ("access-", "refresh-", *gateway.server.clients.values()):
        assert secret not in text


def asked(consenting: Consenting, *, version: str, capabilities: Any, declined: bool = False, **params: Any) -> Any:
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in params.items()}
    return consenting.asked(
        NEEDED, 7, raw, ADA, version=version, capabilities=msgspec.json.encode(capabilities), declined=declined
    )


def test_a_client_of_2025_11_25_gets_the_error_of_its_revision() -> None:
    with pytest.raises(RpcError) as refused:
        asked(Consenting(SEALER, SYSTEM_CLOCK), version="2025-11-25", capabilities=URL_MODE)
    assert refused.value.error.code == URL_ELICITATION_REQUIRED
    assert refused.value.error.data is not None
    (elicitation,) = refused.value.error.data["elicitations"]
    assert elicitation["elicitationId"] == "e1"
    assert (elicitation["mode"], elicitation["url"]) == ("url", NEEDED.url)


@pytest.mark.parametrize(("version", "capabilities"), [("2025-06-18", URL_MODE), ("2025-11-25", {"elicitation": {}})])
def test_older_clients_learn_the_address_in_an_error(version: str, capabilities: Any) -> None:
    with pytest.raises(RpcError, match=NEEDED.url) as refused:
        asked(Consenting(SEALER, SYSTEM_CLOCK), version=version, capabilities=capabilities)
    assert refused.value.error.code == INVALID_REQUEST


def test_a_retry_brings_back_what_the_upstream_had_asked_for_before() -> None:
    clock = ManualClock()
    consenting = Consenting(SEALER, clock)
    result = asked(consenting, version="", capabilities=URL_MODE, requestState="theirs", inputResponses={"a": {}})
    state = msgspec.json.decode(result.message)["result"]["requestState"]
    retried: dict[str, Any] = {"name": "echo", "requestState": state, "inputResponses": {"consent": {}}}
    brought = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in retried.items()}
    params, declined = consenting.resumed(brought, ADA)
    assert {name: bytes(value) for name, value in params.items()} == {
        "name": b'"echo"', "requestState": b'"theirs"', "inputResponses": b'{"a":{}}',
    }  # fmt: skip
    assert not declined
    assert consenting.resumed(brought, EVE) == (brought, False)
    clock.advance(901)
    with pytest.raises(RpcError, match="expired"):
        consenting.resumed(brought, ADA)


def test_a_state_of_an_upstream_is_left_alone() -> None:
    params = {"requestState": msgspec.Raw(b'"theirs"')}
    assert Consenting(SEALER, SYSTEM_CLOCK).resumed(params, ADA) == (params, False)

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.errors import InterlockError, InvalidInput
from interlock_common.messages.auth import Principal, principal_key
from interlock_common.messages.catalog import VirtualServer
from interlock_common.messages.explaining import Asked, Explanation
from interlock_gateway.explaining import Explainer
from interlock_gateway.guard.buckets import Rate
from interlock_gateway.guard.rate_limits import PRINCIPAL, RateLimits
from interlock_gateway.jsonrpc import RpcError
from interlock_gateway.operations import CALL_TOOL
from interlock_gateway.testing.callers import ADA, EVE, ROOT
from interlock_gateway.testing.certificates import ClientCa, peer_of
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.testing.servers import upstream_at
from interlock_gateway.tool_calls import authorized_route

TOOL = "notes-echo"


@pytest.fixture
def world() -> EdgeWorld:
    world = EdgeWorld()
    world.register(upstream_at("http://127.0.0.1:9"))
    hidden = upstream_at("http://127.0.0.1:9", visibility="team", team="red", owner=ROOT)
    world.register(msgspec.structs.replace(hidden, id="u2", name="vault", slug="vault"))
    world.serve(VirtualServer("one", "One", ROOT, upstreams=("u1",)))
    world.serve(VirtualServer("team", "Team", ROOT, upstreams=("u1",), visibility="team", team="red"))
    return world


def explained(world: EdgeWorld, tool: str = TOOL, server: str | None = None, **claims: Any) -> Explanation:
    address, certificate = claims.pop("address", None), claims.pop("certificate", None)
    token = world.signer.token(**claims)
    explainer = Explainer(world.authenticator, world.catalog, world.limits)
    return explainer.explain(Asked(token, tool, server, address, certificate))


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def deciding(found: Explanation) -> tuple[str, str]:
    """The rule that decided, and the code of its refusal; all rules before it have passed."""
    assert all(rule.passed for rule in found.rules[:-1])
    assert found.allowed is found.rules[-1].passed
    return found.rules[-1].name, found.code


def test_a_call_that_goes_through_passes_every_rule(world: EdgeWorld) -> None:
    found = explained(world, "echo", "one")
    assert deciding(found) == ("permission", "")
    assert (found.principal, found.token_id) == (ADA, "t-1")
    names = [rule.name for rule in found.rules]
    assert names.index("signature") < names.index("revocation") < names.index("rate") < names.index("tool")


@pytest.mark.parametrize(
    ("claims", "rule", "code"),
    [
        ({"exp": 1}, "time", "token_expired"),
        ({"iss": "else"}, "issuer", "token_issuer"),
        ({"aud": "else"}, "audience", "token_audience"),
        ({"cnf": {"x5t#S256": "A" * 43}}, "certificate", "token_bound"),
        ({"principal": "gone@example.com"}, "principal", "token_rejected"),
        ({"scopes": {"ip_restrictions": ["10.0.0.0/8"]}, "address": "11.0.0.1"}, "address", "scope_ip"),
        ({"scopes": {"server_id": "two"}}, "server scope", "insufficient_scope"),
        ({"server": "nowhere"}, "server", "not_found"),
        ({"principal": EVE, "server": "team"}, "server", "not_found"),
        ({"tool": "notes-none"}, "tool", "unknown_tool"),
        ({"principal": EVE, "tool": "vault-echo"}, "visibility", "unknown_tool"),
        ({"scopes": {"permissions": ["tools.read"]}}, "permission", "insufficient_scope"),
    ],
)
def test_the_rule_that_decides_is_named(world: EdgeWorld, claims: dict[str, Any], rule: str, code: str) -> None:
    assert deciding(explained(world, **claims)) == (rule, code)


def test_a_bound_token_is_explained_with_its_certificate(world: EdgeWorld) -> None:
    ca = ClientCa()
    own, other = ca.issue(), ca.issue()
    bound: dict[str, Any] = {"cnf": {"x5t#S256": peer_of(own).thumbprint}}
    assert deciding(explained(world, certificate=pem(own), **bound)) == ("permission", "")
    assert deciding(explained(world, certificate=pem(other), **bound)) == ("certificate", "token_bound")
    expired = ca.issue(lifetime=timedelta(minutes=1))  # it began an hour ago
    assert deciding(explained(world, certificate=pem(expired))) == ("client certificate", "certificate_expired")
    with pytest.raises(InvalidInput):
        explained(world, certificate="nonsense")


def test_a_revoked_token_and_a_forged_one_are_told_apart(world: EdgeWorld) -> None:
    world.revoke()
    assert deciding(explained(world)) == ("revocation", "token_revoked")
    other = EdgeWorld()
    explainer = Explainer(world.authenticator, world.catalog, world.limits)
    assert deciding(explainer.explain(Asked(other.signer.token(), TOOL))) == ("signature", "token_signature")
    assert deciding(explainer.explain(Asked("nonsense", TOOL))) == ("form", "token_malformed")


def test_roles_and_scopes_that_lack_a_permission_are_told_apart(world: EdgeWorld) -> None:
    assert "scopes.permissions" in explained(world, scopes={"permissions": ["tools.read"]}).rules[-1].reason
    world.principals.items[principal_key(EVE)] = Principal(EVE)
    assert "no role" in explained(world, principal=EVE).rules[-1].reason


def test_a_principal_over_its_rate_is_said_to_be(world: EdgeWorld) -> None:
    rate = Rate.parse("RATE_LIMIT_PRINCIPAL", "1/1")
    world.limits = RateLimits({PRINCIPAL: rate}, SYSTEM_CLOCK)
    assert deciding(explained(world)) == ("permission", "")
    assert deciding(explained(world)) == ("permission", "")  # asking counts nothing
    world.limits.count_caller(ADA, "t-1")
    assert deciding(explained(world)) == ("rate", "rate_limited")


def test_asking_uses_nothing_up(world: EdgeWorld) -> None:
    for _ in range(3):
        assert explained(world, scopes={"usage_limits": {"requests_total": 1}}).allowed
    assert world.gate.uses.batch("edge", 0) is None


@pytest.mark.parametrize("principal", [ADA, EVE, ROOT])
@pytest.mark.parametrize("server", [None, "one", "team", "nowhere"])
@pytest.mark.parametrize("tool", [TOOL, "vault-echo", "echo", "none"])
@pytest.mark.parametrize("teams", [None, [], ["red"]])
@pytest.mark.parametrize("permissions", [[], ["tools.execute"], ["tools.read"]])
def test_what_is_explained_is_what_happens(
    world: EdgeWorld, principal: str, server: str | None, tool: str, teams: list[str] | None, permissions: list[str]
) -> None:
    claims: dict[str, Any] = {"teams": teams, "scopes": {"permissions": permissions}}
    found = explained(world, tool, server, principal=principal, **claims)
    caller = world.authenticator.caller(b"Bearer " + world.signer.token(principal, **claims).encode())
    try:
        authorized_route(world.catalog, caller, CALL_TOOL, server, tool, modern=True)
    except (InterlockError, RpcError):
        assert not found.allowed
    else:
        assert found.allowed

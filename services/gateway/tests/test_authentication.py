import base64
import hashlib
import hmac
from typing import Any

import jwt
import msgspec
import pytest

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.errors import Unauthenticated
from interlock_common.messages.auth import Principal, principal_key, revocation_key
from interlock_common.messages.revocation import FOR_EVER
from interlock_common.revocation_set import RevocationSet
from interlock_common.testing.clock import ManualClock
from interlock_gateway import authentication
from interlock_gateway.authentication import Authenticator
from interlock_gateway.claims import ClaimRules
from interlock_gateway.errors import TokenExpired, TokenMalformed, TokenMissing, TokenRejected, TokenRevoked
from interlock_gateway.testing.callers import ADA, AUDIENCE, ISSUER, ROOT, Signer
from interlock_gateway.testing.edge import EdgeWorld


def bearer(token: str | bytes) -> bytes:
    return b"Bearer " + (token.encode() if isinstance(token, str) else token)


def encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


@pytest.fixture
def world() -> EdgeWorld:
    return EdgeWorld()


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
def test_a_token_of_each_algorithm_is_its_principal(algorithm: str) -> None:
    world = EdgeWorld(Signer(algorithm))
    caller = world.authenticator.caller(bearer(world.signer.token()))
    assert (caller.principal, caller.token_id, caller.is_admin) == (ADA, "t-1", False)


@pytest.mark.parametrize("header", [None, b"", b"Basic YTpi", b"bearer", b"Token x", b"Bearerx"])
def test_without_a_bearer_token_one_is_asked_for(world: EdgeWorld, header: bytes | None) -> None:
    with pytest.raises(TokenMissing):
        world.authenticator.caller(header)


def test_the_scheme_may_be_written_in_any_case(world: EdgeWorld) -> None:
    assert world.authenticator.caller(b"bEARER " + world.signer.token().encode()).principal == ADA


@pytest.mark.parametrize(
    "token",
    [b"", b"a.b.c", b"....", b"\xff\xfe.\x00.", encoded(b"[]") + b".e30.AA",
     encoded(b'{"alg":"EdDSA","kid":7}') + b".e30.AA", encoded(b"[" * 5000) + b".e30.AA",
     encoded(b'{"a":' * 1000 + b"1" + b"}" * 1000) + b".e30.AA",
     encoded(b'{"alg":"EdDSA","n":' + b"9" * 5000 + b"}") + b".e30.AA", encoded(b'{"alg":"EdDSA"}') + b".e30.AA"],
)  # fmt: skip
def test_garbage_is_refused_in_words(world: EdgeWorld, token: bytes) -> None:
    with pytest.raises((TokenMalformed, TokenRejected)):
        world.authenticator.caller(bearer(token))


def test_a_token_over_the_bound_is_not_even_looked_at(world: EdgeWorld) -> None:
    with pytest.raises(TokenMalformed, match="8192 bytes"):
        world.authenticator.caller(bearer(world.signer.token(pad="x" * 8192)))


def test_alg_none_is_refused(world: EdgeWorld) -> None:
    claims = jwt.decode(world.signer.token(), options={"verify_signature": False})
    with pytest.raises(TokenRejected):
        world.authenticator.caller(bearer(jwt.encode(claims, "", "none", {"kid": world.signer.kid})))


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
def test_a_public_key_is_no_shared_secret(algorithm: str) -> None:
    world = EdgeWorld(Signer(algorithm))
    published = world.keys.items["k1"]
    body = world.signer.token().split(".")[1].encode()
    for secret in (world.signer.public_pem(), bytes(published.jwk)):
        signed = encoded(b'{"alg":"HS256","kid":"k1"}') + b"." + body
        forged = signed + b"." + encoded(hmac.digest(secret, signed, "sha256"))
        with pytest.raises(TokenRejected, match="wrong algorithm"):
            world.authenticator.caller(bearer(forged))


def test_the_key_that_is_named_must_have_signed(world: EdgeWorld) -> None:
    other, third = Signer(kid="k2"), Signer("ES256", kid="k3")
    world.keys.items |= {"k2": other.published(), "k3": third.published()}
    claims = jwt.decode(world.signer.token(), options={"verify_signature": False})
    for kid in ("k2", "k3"):
        with pytest.raises(TokenRejected):
            world.authenticator.caller(bearer(jwt.encode(claims, world.signer.private, "EdDSA", {"kid": kid})))
    with pytest.raises(TokenRejected, match="not ours"):
        world.authenticator.caller(bearer(Signer(kid="unknown").token()))
    with pytest.raises(TokenRejected, match="not ours"):
        world.authenticator.caller(bearer(jwt.encode(claims, world.signer.private, "EdDSA")))


def test_a_token_that_was_changed_is_refused(world: EdgeWorld) -> None:
    head, _, signature = world.signer.token().split(".")
    body = world.signer.token(ROOT).split(".")[1]
    with pytest.raises(TokenRejected, match="bad signature"):
        world.authenticator.caller(bearer(f"{head}.{body}.{signature}"))


@pytest.mark.parametrize(
    ("changes", "kind", "reason"),
    [
        ({"exp": 1}, TokenExpired, "expired"),
        ({"nbf": 4_000_000_000}, TokenRejected, "not valid yet"),
        ({"iat": 4_000_000_000, "exp": 4_000_000_100}, TokenRejected, "not valid yet"),
        ({"iss": "somebody"}, TokenRejected, "wrong issuer"),
        ({"aud": "something"}, TokenRejected, "wrong audience"),
        ({"aud": []}, TokenRejected, "audience|missing"),
        ({"exp": "soon"}, TokenMalformed, "malformed"),
        ({"exp": 4_000_000_000.5}, TokenMalformed, "form"),
        ({"teams": "red"}, TokenMalformed, "form"),
        ({"teams": [1]}, TokenMalformed, "form"),
        ({"scopes": []}, TokenMalformed, "form"),
        ({"scopes": {"permissions": "tools.execute"}}, TokenMalformed, "form"),
    ],
)
def test_claims_are_held_to_their_rules(
    world: EdgeWorld, changes: dict[str, Any], kind: type[Unauthenticated], reason: str
) -> None:
    with pytest.raises(kind, match=reason):
        world.authenticator.caller(bearer(world.signer.token(**changes)))


@pytest.mark.parametrize("claim", ["sub", "jti", "exp", "iat", "iss", "aud"])
def test_each_claim_of_ours_must_be_there(world: EdgeWorld, claim: str) -> None:
    with pytest.raises(Unauthenticated):
        world.authenticator.caller(bearer(world.signer.token(without=[claim])))


def test_a_remembered_token_expires_on_time(world: EdgeWorld) -> None:
    clock = ManualClock(SYSTEM_CLOCK.now())
    authenticator = Authenticator(
        world.keys, world.principals, world.revocations, rules=ClaimRules(ISSUER, AUDIENCE), clock=clock
    )
    token = bearer(world.signer.token())
    authenticator.caller(token)
    clock.advance(601)
    with pytest.raises(TokenExpired):
        authenticator.caller(token)


def test_a_remembered_token_stops_with_its_key(world: EdgeWorld) -> None:
    authenticator, token = world.authenticator, bearer(world.signer.token())
    authenticator.caller(token)
    key = world.keys.items.pop("k1")
    with pytest.raises(TokenRejected, match="not ours"):
        authenticator.caller(token)
    world.keys.items["k1"] = Signer().published()  # the same name, another key
    with pytest.raises(TokenRejected, match="bad signature"):
        authenticator.caller(token)
    world.keys.items["k1"] = msgspec.structs.replace(key)  # as a resync brings it
    assert authenticator.caller(token).principal == ADA


def test_a_remembered_token_stops_when_it_is_revoked_or_its_principal_ends(world: EdgeWorld) -> None:
    authenticator, token = world.authenticator, bearer(world.signer.token())
    authenticator.caller(token)
    world.revocations.items[revocation_key("t-2")] = FOR_EVER
    authenticator.caller(token)
    world.revocations.items[revocation_key("t-1")] = FOR_EVER
    with pytest.raises(TokenRevoked):
        authenticator.caller(token)
    world.revocations.items = RevocationSet()
    world.principals.items[principal_key(ADA)] = Principal(ADA, active=False)
    with pytest.raises(TokenRejected, match="not active"):
        authenticator.caller(token)
    del world.principals.items[principal_key(ADA)]
    with pytest.raises(TokenRejected, match="not active"):
        authenticator.caller(token)


@pytest.mark.parametrize(
    ("principal", "claim", "unrestricted", "teams"),
    [
        (ADA, {}, False, set[str]()),
        (ADA, {"teams": None}, False, set[str]()),
        (ADA, {"teams": []}, False, set[str]()),
        (ADA, {"teams": ["red"]}, False, {"red"}),
        (ADA, {"teams": ["red", "blue"]}, False, {"red"}),
        (ROOT, {}, True, {"ops"}),
        (ROOT, {"teams": None}, True, {"ops"}),
        (ROOT, {"teams": []}, False, set[str]()),
        (ROOT, {"teams": ["red"]}, False, {"red"}),
    ],
)
def test_the_teams_matrix(
    world: EdgeWorld, principal: str, claim: dict[str, Any], *, unrestricted: bool, teams: set[str]
) -> None:
    caller = world.authenticator.caller(bearer(world.signer.token(principal, **claim)))
    assert (caller.unrestricted, set(caller.teams)) == (unrestricted, teams)


@pytest.mark.parametrize(
    ("principal", "scopes", "allowed"),
    [
        (ADA, {}, {"tools.execute", "tools.read"}),
        (ADA, {"permissions": ["tools.read"]}, {"tools.read"}),
        (ADA, {"permissions": ["*"]}, {"tools.execute", "tools.read"}),
        (ADA, {"permissions": ["tokens.create"]}, set[str]()),
        (ROOT, {}, {"tools.execute", "tools.read", "tokens.create"}),
        (ROOT, {"permissions": ["tools.read"]}, {"tools.read"}),
    ],
)
def test_scopes_narrow_and_never_widen(
    world: EdgeWorld, principal: str, scopes: dict[str, Any], allowed: set[str]
) -> None:
    caller = world.authenticator.caller(bearer(world.signer.token(principal, scopes=scopes)))
    assert {p for p in ("tools.execute", "tools.read", "tokens.create") if caller.may(p)} == allowed


def test_a_narrowed_administrator_is_told_to_others_as_none(world: EdgeWorld) -> None:
    def actor(**claims: Any) -> tuple[bool, tuple[str, ...]]:
        told = world.authenticator.caller(bearer(world.signer.token(ROOT, **claims))).actor()
        return told.is_admin, told.permissions

    assert actor() == (True, ("*",))
    assert actor(scopes={"permissions": ["tools.read"]}) == (False, ("tools.read",))
    assert actor(teams=[]) == (False, ("*",))


def test_the_memory_of_verified_tokens_is_bounded(world: EdgeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "_CACHED_TOKENS", 10)
    authenticator = world.authenticator
    for n in range(30):
        authenticator.caller(bearer(world.signer.token(jti=f"t-{n}")))
    remembered = authenticator._verified  # pyright: ignore[reportPrivateUsage]
    assert len(remembered) == 10
    with pytest.raises(TokenRejected):
        authenticator.caller(bearer(Signer().token()))
    assert len(remembered) == 10
    assert all(len(digest) == hashlib.sha256().digest_size for digest in remembered)

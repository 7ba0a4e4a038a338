import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import jwt
import msgspec
import pytest

from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.errors import InterlockError
from interlock_common.messages.auth import Principal, principal_key
from interlock_common.messages.issuers import (
    ClaimMapping,
    KeysRead,
    KeyWanted,
    LinkedIdentity,
    PinnedKey,
    TrustedIssuer,
    identity_key,
    issuer_key,
)
from interlock_common.messages.revocation import FOR_EVER
from interlock_gateway.authentication import Authenticator
from interlock_gateway.caller import Caller
from interlock_gateway.claims import ClaimRules
from interlock_gateway.external_issuers.tokens import ExternalTokens
from interlock_gateway.external_issuers.wanted import WantedKeys
from interlock_gateway.testing.asking import ask, modern_call
from interlock_gateway.testing.callers import ADA, AUDIENCE, ISSUER, ROOT, Signer
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.testing.fakes import FakeMirror, FakeRevocations

THEIRS = "https://idp.example/realms/corp"
API = "https://gateway.example/mcp"
SUBJECT = "8f2e-ada"


def pinned(signer: Signer) -> PinnedKey:
    public = signer.published()
    return PinnedKey(public.kid, public.algorithm, public.jwk)


@dataclass
class Edge:
    """An authenticator with its mirrors, and one issuer of others."""

    theirs: Signer = field(default_factory=lambda: Signer("RS256", "their-key"))
    ours: Signer = field(default_factory=Signer)
    issuers: FakeMirror[TrustedIssuer] = field(default_factory=FakeMirror[TrustedIssuer])
    identities: FakeMirror[LinkedIdentity] = field(default_factory=FakeMirror[LinkedIdentity])
    principals: FakeMirror[Principal] = field(default_factory=FakeMirror[Principal])
    revocations: FakeRevocations = field(default_factory=FakeRevocations)
    asked: list[KeyWanted] = field(default_factory=list[KeyWanted])
    answer: Callable[[], KeysRead] = lambda: KeysRead(read=True)
    clock: Clock = SYSTEM_CLOCK

    def __post_init__(self) -> None:
        self.trust()
        self.link(SUBJECT, ADA)
        for principal in (
            Principal(ADA, teams=("red",), permissions=("tools.execute", "tools.read")), Principal(ROOT, is_admin=True)
        ):  # fmt: skip
            self.principals.items[principal_key(principal.name)] = principal
        keys = FakeMirror({self.ours.kid: self.ours.published()})
        self.wanted = WantedKeys(self.ask, self.clock)
        external = ExternalTokens(self.issuers, self.identities, self.principals, self.clock, self.wanted)
        self.authenticator = Authenticator(
            keys, self.principals, self.revocations, rules=ClaimRules(ISSUER, AUDIENCE), clock=self.clock,
            external=external,
        )  # fmt: skip

    async def ask(self, wanted: KeyWanted) -> KeysRead:
        self.asked.append(wanted)
        return self.answer()

    def trust(self, **changes: Any) -> None:
        base = TrustedIssuer("corp", THEIRS, (API,), (pinned(self.theirs),), int(SYSTEM_CLOCK.time()) + 3600)
        self.issuers.items[issuer_key(THEIRS)] = msgspec.structs.replace(base, **changes)

    def link(self, subject: str, principal: str) -> None:
        self.identities.items[identity_key(THEIRS, subject)] = LinkedIdentity(THEIRS, subject, principal)

    def token(self, *, without: tuple[str, ...] = (), header: dict[str, Any] | None = None, **claims: Any) -> str:
        now = int(SYSTEM_CLOCK.time())
        good: dict[str, Any] = {"iss": THEIRS, "sub": SUBJECT, "aud": API, "iat": now, "exp": now + 300}
        said = {name: value for name, value in (good | claims).items() if name not in without}
        headers = {"kid": self.theirs.kid} | (header or {})
        return jwt.encode(said, self.theirs.private, self.theirs.algorithm, headers)

    def caller(self, token: str, **where: Any) -> Caller:
        return self.authenticator.caller(b"Bearer " + token.encode(), **where)

    def refusal(self, token: str) -> str:
        with pytest.raises(InterlockError) as refused:
            self.caller(token)
        assert token not in str(refused.value)
        return refused.value.code


@pytest.fixture
def edge() -> Edge:
    return Edge()


def test_a_linked_subject_is_its_account_and_auth_is_not_told_of_a_token_it_never_made(edge: Edge) -> None:
    caller = edge.caller(edge.token(jti="t-1"))
    assert (caller.principal, caller.teams, caller.is_admin) == (ADA, frozenset({"red"}), False)
    assert caller.may("tools.execute")
    assert not caller.may("gateways.create")
    assert caller.token_id.startswith("x-")
    assert caller.actor().token_id is None
    assert edge.authenticator.counts(caller)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aud": "https://other.example"}, "token_audience"),
        ({"aud": AUDIENCE}, "token_audience"),
        ({"without": ("aud",)}, "token_malformed"),
        ({"without": ("exp",)}, "token_malformed"),
        ({"without": ("iat",)}, "token_malformed"),
        ({"without": ("sub",)}, "token_malformed"),
        ({"exp": 1}, "token_expired"),
        ({"nbf": 2**40}, "token_not_yet_valid"),
        ({"iss": "https://elsewhere.example"}, "token_issuer"),
        ({"sub": "8f2e-eve"}, "token_rejected"),
        ({"sub": 7}, "token_malformed"),
        ({"sub": "a\nb"}, "token_malformed"),
        ({"exp": int(SYSTEM_CLOCK.time()) + 40 * 86400}, "token_rejected"),
        ({"cnf": {"jkt": "a" * 43}}, "token_rejected"),
        ({"cnf": "x"}, "token_rejected"),
        ({"cnf": {"x5t#S256": "a" * 43}}, "token_bound"),
        ({"at_hash": "x"}, "token_malformed"),
        ({"header": {"typ": "logout+jwt"}}, "token_malformed"),
        ({"header": {"kid": "k1"}}, "issuer_keys_pending"),
    ],
)
async def test_a_token_of_others_is_refused_by_name(edge: Edge, changes: dict[str, Any], code: str) -> None:
    found = edge.refusal(edge.token(**changes))
    await edge.wanted.stop()
    assert found == code


def test_the_algorithm_is_that_of_the_key_whatever_the_token_says(edge: Edge) -> None:
    claims = jwt.decode(edge.token(), options={"verify_signature": False})
    unsigned = jwt.encode(claims, cast("Any", None), "none", {"kid": edge.theirs.kid})
    assert edge.refusal(unsigned) == "token_signature"
    confused = _signed_with_the_public_key(edge, claims)
    assert edge.refusal(confused) == "token_signature"
    other = jwt.encode(claims, edge.theirs.private, "RS512", {"kid": edge.theirs.kid})
    assert edge.refusal(other) == "token_signature"


def _signed_with_the_public_key(edge: Edge, claims: dict[str, Any]) -> str:
    """What PyJWT itself refuses to make: HS256 with the text of a public key as its secret."""

    def part(value: dict[str, Any]) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    text = part({"alg": "HS256", "kid": edge.theirs.kid}) + b"." + part(claims)
    mac = hmac.new(edge.theirs.public_pem(), text, hashlib.sha256).digest()
    return (text + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


def test_neither_issuer_speaks_for_the_other(edge: Edge) -> None:
    now = int(SYSTEM_CLOCK.time())
    ours_for_them = jwt.encode(
        {"iss": THEIRS, "sub": SUBJECT, "aud": API, "iat": now, "exp": now + 300}, edge.ours.private,
        edge.ours.algorithm, {"kid": edge.theirs.kid},
    )  # fmt: skip
    assert edge.refusal(ours_for_them) == "token_signature"
    theirs_for_us = edge.token(iss=ISSUER, aud=AUDIENCE, jti="t-1", sub=ADA)
    assert edge.refusal(theirs_for_us) == "token_signature"
    assert edge.caller(edge.ours.token()).principal == ADA


def test_an_issuer_that_nobody_named_is_refused_as_one(edge: Edge) -> None:
    edge.issuers.items.clear()
    assert edge.refusal(edge.token()) == "token_issuer"


def test_an_issuer_for_logins_alone_gives_no_access(edge: Edge) -> None:
    edge.trust(audiences=())
    assert edge.refusal(edge.token()) == "token_issuer"


def test_what_ours_mean_in_a_token_means_nothing_in_theirs(edge: Edge) -> None:
    caller = edge.caller(edge.token(scopes={"permissions": ["*"]}, teams=["blue"], env="x", parent=["t-9"], sid="s"))
    assert caller.teams == {"red"}
    assert caller.traces is not None
    assert caller.traces.ids == (caller.token_id,)


def test_an_administrator_is_none_by_a_token_of_others_unless_that_is_said(edge: Edge) -> None:
    edge.link(SUBJECT, ROOT)
    caller = edge.caller(edge.token())
    assert (caller.is_admin, caller.unrestricted, caller.permissions) == (False, False, frozenset())
    edge.trust(administrators=True)
    caller = edge.caller(edge.token())
    assert (caller.is_admin, caller.unrestricted) == (True, True)


def test_mapped_claims_make_teams_and_permissions_and_nothing_else_does(edge: Edge) -> None:
    mapping = ClaimMapping(
        require={"tid": "t1", "email_verified": "true"}, teams_claim="groups", teams={"dev": "red"},
        roles_claim="realm_access.roles", roles={"builder": "developer", "boss": "platform_admin"},
    )  # fmt: skip
    edge.trust(
        accounts="mapped", claims=mapping, permissions={"builder": ("tools.read", "tools.execute")},
        admin_values=("boss",),
    )  # fmt: skip
    claims: Any = {
        "tid": "t1", "email_verified": True, "groups": ["dev", "other"],
        "realm_access": {"roles": ["builder", "boss", 7, None]},
    }  # fmt: skip
    caller = edge.caller(edge.token(**claims))
    assert (caller.principal, caller.teams) == (f"corp/{SUBJECT}", frozenset({"red"}))
    assert caller.permissions == {"tools.read", "tools.execute"}
    assert not caller.is_admin
    assert edge.authenticator.counts(caller)
    assert edge.refusal(edge.token(**claims | {"tid": "t2"})) == "token_rejected"
    assert edge.refusal(edge.token(**claims | {"email_verified": False})) == "token_rejected"
    edge.trust(accounts="mapped", claims=mapping, administrators=True, admin_values=("boss",))
    assert edge.caller(edge.token(**claims)).is_admin


def test_the_words_of_a_scope_narrow_and_none_of_them_leaves_nothing(edge: Edge) -> None:
    edge.trust(claims=ClaimMapping(scope_claim="scope"))
    caller = edge.caller(edge.token(scope="openid tools.read gateways.create"))
    assert caller.may("tools.read")
    assert not caller.may("tools.execute")
    assert not caller.may("gateways.create")
    assert not edge.caller(edge.token(scope="openid")).may("tools.read")
    assert not edge.caller(edge.token()).may("tools.read")


def test_a_user_who_is_revoked_or_not_active_is_refused_with_a_token_of_others_as_well(edge: Edge) -> None:
    token = edge.token()
    caller = edge.caller(token)
    edge.principals.items[principal_key(ADA)] = Principal(ADA, active=False)
    assert edge.refusal(token) == "token_rejected"
    assert not edge.authenticator.counts(caller)
    edge.principals.items[principal_key(ADA)] = Principal(ADA)
    assert edge.authenticator.counts(caller)
    edge.revocations.items[f"user.{ADA.encode().hex()}"] = int(SYSTEM_CLOCK.time()) + 60
    assert edge.refusal(token) == "token_revoked"
    assert not edge.authenticator.counts(caller)


def test_unlinking_withdrawing_a_key_and_removing_the_issuer_count_at_once(edge: Edge) -> None:
    token = edge.token()
    caller = edge.caller(token)
    edge.link(SUBJECT, "eve@example.com")
    assert not edge.authenticator.counts(caller)
    assert edge.refusal(token) == "token_rejected"  # eve is nobody here
    edge.link(SUBJECT, ADA)
    caller = edge.caller(token)
    del edge.identities.items[identity_key(THEIRS, SUBJECT)]
    assert edge.refusal(token) == "token_rejected"
    assert not edge.authenticator.counts(caller)
    edge.link(SUBJECT, ADA)
    edge.trust(keys=(pinned(Signer("RS256", "next")),))
    assert not edge.authenticator.counts(caller)
    edge.issuers.items.clear()
    assert edge.refusal(token) == "token_issuer"
    assert not edge.authenticator.counts(caller)


async def test_an_unknown_key_is_asked_for_once_and_the_client_is_told_to_come_again(edge: Edge) -> None:
    fresh = Signer("RS256", "next")
    old, edge.theirs = edge.theirs, fresh
    token = edge.token()
    assert edge.refusal(token) == "issuer_keys_pending"
    assert edge.refusal(token) == "issuer_keys_pending"
    await asyncio.sleep(0)
    assert edge.asked == [KeyWanted("corp", "next")]
    edge.trust(keys=(pinned(old), pinned(fresh)))
    assert edge.caller(token).principal == ADA


async def test_a_key_that_stays_unknown_is_a_bad_signature_and_is_not_asked_for_again(edge: Edge) -> None:
    edge.answer = lambda: KeysRead(read=False)
    token = edge.token(header={"kid": "guess"})
    assert edge.refusal(token) == "issuer_keys_pending"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert edge.refusal(token) == "token_signature"
    assert edge.refusal(edge.token(header={"kid": "another guess"})) == "token_signature"
    assert len(edge.asked) == 1


def test_keys_that_could_not_be_read_for_too_long_verify_nothing(edge: Edge) -> None:
    token = edge.token()
    edge.caller(token)
    edge.trust(keys_until=int(SYSTEM_CLOCK.time()) - 1)
    assert edge.refusal(token) == "issuer_keys_stale"


def test_an_access_token_must_say_so_where_that_is_required(edge: Edge) -> None:
    edge.trust(require_access_token_type=True)
    assert edge.refusal(edge.token()) == "token_malformed"
    assert edge.caller(edge.token(header={"typ": "at+jwt"})).principal == ADA


def test_a_token_of_others_is_revoked_under_the_name_it_has_here(edge: Edge) -> None:
    token = edge.token(jti="t-1")
    caller = edge.caller(token)
    edge.revocations.items["jti.t-1"] = FOR_EVER  # one of ours, that happens to have the same
    edge.caller(token)
    edge.revocations.items[f"jti.{caller.token_id}"] = FOR_EVER
    assert edge.refusal(token) == "token_revoked"


async def test_an_endpoint_says_when_to_come_again_and_not_that_the_credential_is_bad(edge: Edge) -> None:
    headers, body = modern_call()
    endpoint = EdgeWorld().endpoint(authenticator=edge.authenticator)
    pending = await ask(endpoint, body, headers, token=edge.token(header={"kid": "next"}))
    edge.trust(keys_until=0)
    stale = await ask(endpoint, body, headers, token=edge.token())
    await edge.wanted.stop()
    for answer, seconds, code in ((pending, "1", "issuer_keys_pending"), (stale, "30", "issuer_keys_stale")):
        assert (answer.status, answer.headers["retry-after"]) == (503, seconds)
        assert "www-authenticate" not in answer.headers
        assert code in answer.body.decode()

"""Certificates and tokens as credentials of one caller: bound, either, both."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.errors import Unauthenticated
from interlock_common.messages.auth import Principal, principal_key
from interlock_common.messages.certs import RevokedCertificate, Successor
from interlock_common.messages.revocation import selector_key
from interlock_gateway.authentication import Authenticator
from interlock_gateway.caller import Caller
from interlock_gateway.certificates.binding import Bindings, Predecessors, Presented
from interlock_gateway.certificates.errors import (
    CertificateExpired,
    CertificateRevoked,
    CredentialsDisagree,
    IdentityUnknown,
    TokenBound,
    TokensOff,
)
from interlock_gateway.certificates.identities import Identities
from interlock_gateway.certificates.peer import PeerCertificate
from interlock_gateway.certificates.shown import Shown
from interlock_gateway.certificates.standing import RevokedCertificates, Standing
from interlock_gateway.errors import TokenMalformed, TokenMissing
from interlock_gateway.live import Ended, LiveWork
from interlock_gateway.testing.callers import ADA, EVE, ROOT
from interlock_gateway.testing.certificates import ClientCa
from interlock_gateway.testing.edge import EdgeWorld

CA = ClientCa()
ADAS, EVES = CA.peer("ada", emails=(ADA,)), CA.peer("eve", emails=(EVE,))
RENEWED = CA.peer("ada", emails=(ADA,))


@dataclass
class Door:
    """An authenticator to which certificates are shown."""

    world: EdgeWorld = field(default_factory=EdgeWorld)
    revoked: RevokedCertificates = field(default_factory=RevokedCertificates)
    successors: dict[str, Successor] = field(default_factory=dict[str, Successor])
    certificates_count: bool = True

    def __post_init__(self) -> None:
        standing = Standing(SYSTEM_CLOCK, self.revoked, lambda: self.world.revocations.items.before)
        self.identities = Identities(
            SYSTEM_CLOCK, standing, Bindings(standing, self.successors), certificates_count=self.certificates_count
        )
        self.authenticator = Authenticator(
            self.world.keys, self.world.principals, self.world.revocations, rules=self.world.rules,
            clock=SYSTEM_CLOCK, identities=self.identities,
        )  # fmt: skip

    def caller(self, token: str | None, shown: Shown | PeerCertificate | None = None) -> Caller:
        if isinstance(shown, PeerCertificate):
            shown = Shown(shown)
        header = None if token is None else f"Bearer {token}".encode()
        return self.authenticator.caller(header, shown=shown)

    def token(self, principal: str = ADA, bound_to: PeerCertificate | None = None, **claims: Any) -> str:
        if bound_to is not None:
            claims["cnf"] = {"x5t#S256": bound_to.thumbprint}
        return self.world.signer.token(principal, **claims)

    def revoke(self, peer: PeerCertificate) -> None:
        said = RevokedCertificate(
            peer.serial, peer.authority_key_id or "", peer.fingerprint, "", "key_compromise", 0
        )  # fmt: skip
        self.revoked.take(peer.key, said)


def test_a_bound_token_works_with_its_certificate() -> None:
    door = Door()
    caller = door.caller(door.token(bound_to=ADAS), ADAS)
    assert (caller.principal, caller.token_id, caller.bound) == (ADA, "t-1", True)
    assert caller.actor().bound_to == ADAS.thumbprint


@pytest.mark.parametrize("shown", [None, EVES, RENEWED])
def test_a_stolen_bound_token_opens_nothing(shown: PeerCertificate | None) -> None:
    door = Door(certificates_count=False)
    with pytest.raises(TokenBound):
        door.caller(door.token(bound_to=ADAS), shown)


@pytest.mark.parametrize(
    "cnf", [{"jkt": "x"}, {"x5t#S256": 7}, {"x5t#S256": "x", "jkt": "y"}, {"kid": ADAS.thumbprint}]
)
def test_a_token_bound_to_what_cannot_be_checked_is_refused(cnf: dict[str, object]) -> None:
    door = Door()
    with pytest.raises(TokenMalformed):
        door.caller(door.world.signer.token(cnf=cnf), ADAS)


def test_a_renewed_certificate_stands_in_for_the_one_before() -> None:
    door, newest = Door(), CA.peer("ada", emails=(ADA,))
    token = door.token(bound_to=ADAS)
    door.successors[ADAS.thumbprint] = Successor(RENEWED.thumbprint, ADA, 0)
    door.successors[RENEWED.thumbprint] = Successor(newest.thumbprint, ADA, 0)
    for peer in (ADAS, RENEWED, newest):
        assert door.caller(token, peer).principal == ADA


def test_what_a_certificate_stands_in_for_leaves_out_what_is_behind_a_revoked_one() -> None:
    door, predecessors = Door(), Predecessors()
    first, second, third, own = (CA.peer("ada", emails=(ADA,)) for _ in range(4))
    for one, other in ((first, second), (second, own), (third, own), (own, first)):
        predecessors.take(one.thumbprint, Successor(other.thumbprint, ADA, 0))
    bindings = Bindings(Standing(SYSTEM_CLOCK, door.revoked), None, predecessors)
    assert set(bindings.succeeded_by(own.thumbprint)) == {each.thumbprint for each in (first, second, third)}
    door.revoke(second)
    assert bindings.succeeded_by(own.thumbprint) == (third.thumbprint,)
    predecessors.take(third.thumbprint, None)
    assert bindings.succeeded_by(own.thumbprint) == ()


def test_tokens_are_bound_to_no_certificate_that_does_not_count() -> None:
    door = Door()
    assert door.identities.presented(Shown(ADAS)).thumbprint == ADAS.thumbprint
    assert door.identities.presented(Shown()) == door.identities.presented(None) == Presented()
    door.revoke(ADAS)
    for shown in (Shown(ADAS), Shown(trouble=CertificateRevoked("as it is"))):
        with pytest.raises(CertificateRevoked):
            door.identities.presented(shown)


def test_successors_that_go_in_a_circle_end_in_a_refusal() -> None:
    door = Door(certificates_count=False)
    door.successors[ADAS.thumbprint] = Successor(RENEWED.thumbprint, ADA, 0)
    door.successors[RENEWED.thumbprint] = Successor(ADAS.thumbprint, ADA, 0)
    with pytest.raises(TokenBound):
        door.caller(door.token(bound_to=ADAS), EVES)


def test_a_successor_of_a_revoked_certificate_opens_nothing() -> None:
    door = Door()
    door.successors[ADAS.thumbprint] = Successor(RENEWED.thumbprint, ADA, 0)
    door.revoke(ADAS)
    with pytest.raises(CertificateRevoked):
        door.caller(door.token(bound_to=ADAS), RENEWED)


def test_a_certificate_is_enough() -> None:
    caller = Door().caller(None, ADAS)
    assert (caller.principal, caller.token_id) == (ADA, ADAS.fingerprint)
    assert caller.teams == {"red"}
    assert caller.expires_at == ADAS.not_after
    assert caller.actor().token_id is None


def test_a_token_is_enough() -> None:
    door = Door()
    assert door.caller(door.token()).principal == ADA


def test_both_must_name_the_same_principal() -> None:
    door = Door()
    assert door.caller(door.token(), ADAS).token_id == "t-1"
    with pytest.raises(CredentialsDisagree):
        door.caller(door.token(EVE), ADAS)


def test_of_both_the_token_says_how_far_it_reaches() -> None:
    door = Door()
    caller = door.caller(door.token(scopes={"permissions": ["tools.read"]}), ADAS)
    assert caller.may("tools.read")
    assert not caller.may("tools.execute")


def test_a_certificate_of_nobody_we_know_is_refused_with_and_without_a_token() -> None:
    door = Door()
    stranger, nameless = CA.peer("mallory"), CA.peer(None, organization="X")
    for peer in (stranger, nameless):
        with pytest.raises(IdentityUnknown):
            door.caller(None, peer)
    with pytest.raises(CredentialsDisagree):
        door.caller(door.token(), stranger)


def test_a_certificate_of_an_inactive_principal_is_refused() -> None:
    door = Door()
    door.world.principals.items[principal_key(ADA)] = Principal(ADA, active=False)
    with pytest.raises(IdentityUnknown, match="no active principal"):
        door.caller(None, ADAS)


def test_where_certificates_are_no_credential_they_open_nothing_by_themselves() -> None:
    door = Door(certificates_count=False)
    with pytest.raises(TokenMissing):
        door.caller(None, ADAS)
    assert door.caller(door.token(EVE), ADAS).principal == EVE


def test_where_tokens_are_off_a_token_is_refused_even_beside_a_certificate() -> None:
    door = Door()
    for peer in (ADAS, None):
        with pytest.raises(TokensOff):
            door.caller(door.token(), Shown(peer, tokens_off=True))
    assert door.caller(None, Shown(ADAS, tokens_off=True)).principal == ADA


@pytest.mark.parametrize("with_token", [True, False])
def test_a_revoked_certificate_is_refused(with_token: bool) -> None:
    door = Door()
    token = door.token() if with_token else None
    assert door.caller(token, ADAS).principal == ADA
    door.revoke(ADAS)
    with pytest.raises(CertificateRevoked):
        door.caller(token, ADAS)


def test_a_certificate_that_is_known_by_its_serial_number_alone_can_be_revoked() -> None:
    door = Door()
    said = RevokedCertificate(ADAS.serial, ADAS.authority_key_id or "", "", "", "unspecified", 0)
    door.revoked.take(ADAS.key, said)
    with pytest.raises(CertificateRevoked):
        door.caller(None, ADAS)
    door.revoked.take(ADAS.key, None)
    assert door.caller(None, ADAS).principal == ADA


@pytest.mark.parametrize(
    "key",
    [selector_key("certificate", ADAS.thumbprint), selector_key("user", ADA), selector_key("team", "red"), "all"],
    ids=["certificate", "user", "team", "all"],
)
def test_selectors_cover_certificates_that_were_issued_before(key: str) -> None:
    door = Door()
    door.world.revocations.items[key] = int(SYSTEM_CLOCK.time())
    with pytest.raises(CertificateRevoked):
        door.caller(None, ADAS)
    door.world.revocations.items[key] = ADAS.not_before
    assert door.caller(None, ADAS).principal == ADA


@pytest.mark.parametrize("begins", [timedelta(days=-91), timedelta(hours=1)])
def test_a_certificate_counts_within_its_times_only(begins: timedelta) -> None:
    peer = CA.peer("ada", emails=(ADA,), begins=SYSTEM_CLOCK.now() + begins)
    with pytest.raises(CertificateExpired):
        Door().caller(None, peer)


async def test_a_revoked_certificate_ends_what_runs_with_it() -> None:
    door = Door()
    live = LiveWork(door.authenticator.counts)

    async def work() -> None:
        door.revoke(ADAS)
        assert live.end_revoked() == 1
        await asyncio.Event().wait()

    with pytest.raises(Ended):
        await live.watched(door.caller(door.token(), ADAS), work)


def test_a_proxy_names_a_principal_and_no_more() -> None:
    door = Door()
    caller = door.caller(None, Shown(user=ADA))
    assert (caller.principal, caller.certificate, caller.limited_as) == (ADA, None, "")
    with pytest.raises(TokenBound):
        door.caller(door.token(bound_to=ADAS), Shown(user=ADA))


def test_a_proxy_and_the_certificate_it_passes_on_name_the_same_principal() -> None:
    door = Door()
    assert door.caller(None, Shown(ADAS, user=ADA)).principal == ADA
    with pytest.raises(CredentialsDisagree):
        door.caller(None, Shown(ADAS, user=ROOT))


def test_trouble_with_what_a_proxy_said_comes_before_any_token() -> None:
    door = Door()
    with pytest.raises(Unauthenticated, match="whatever"):
        door.caller(door.token(), Shown(trouble=Unauthenticated("whatever")))

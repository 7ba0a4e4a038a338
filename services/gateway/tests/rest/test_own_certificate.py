"""``/auth/certificate``: what one's certificate is here, and what follows it."""

from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from interlock_common.messages import subjects
from interlock_common.messages.auth import CreateToken, IssuedToken
from interlock_common.messages.certs import Succeed
from interlock_common.messages.common import Empty
from interlock_common.messages.credential_uses import AskMigration, MigrationReport
from interlock_gateway.certificates.shown import SHOWN, Shown
from interlock_gateway.rest.app import create_rest_app
from interlock_gateway.rest.testing import ACTOR, TOKEN, FakeWorld
from interlock_gateway.testing.certificates import ClientCa, peer_of

CA = ClientCa()
PRESENT, NEXT, OTHERS = (CA.issue(name, emails=(f"{name}@example.com",)) for name in ("ada", "ada", "eve"))
REPLIES = {
    subjects.CERTS_CERTIFICATE_SUCCEED: Empty(),
    subjects.AUTH_TOKEN_CREATE: IssuedToken("t-2", "a.b.c", 0),
    subjects.AUTH_CREDENTIAL_REPORT: MigrationReport(0, (), 0, 0),
}


async def asked(
    method: str, path: str, body: object = None, shown: x509.Certificate | None = PRESENT
) -> tuple[httpx2.Response, list[Any]]:
    """One request, on a connection that shows a certificate; and what was asked over the bus."""
    world = FakeWorld()
    world.bus.replies |= REPLIES
    rest = create_rest_app(world.dependencies())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        more = {} if shown is None else {SHOWN: Shown(peer_of(shown))}
        await rest(scope | more, receive, send)

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://gateway.example") as client:
        answer = await client.request(method, path, json=body, headers={"authorization": TOKEN})
    return answer, [message for _, message in world.bus.asked]


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


async def test_one_sees_ones_certificate_as_the_edge_does() -> None:
    answer, _ = await asked("GET", "/auth/certificate")
    peer = peer_of(PRESENT)
    assert (answer.status_code, answer.json()["thumbprint"]) == (200, peer.thumbprint)
    assert answer.json()["emails"] == ["ada@example.com"]
    answer, _ = await asked("GET", "/auth/certificate", shown=None)
    assert answer.status_code == 404


async def test_the_holder_names_the_successor() -> None:
    answer, said = await asked("POST", "/auth/certificate/successor", {"certificate": pem(NEXT)})
    before, after = peer_of(PRESENT), peer_of(NEXT)
    assert answer.status_code == 200
    assert said == [Succeed(before.thumbprint, after.thumbprint, after.not_after, ACTOR.principal)]


@pytest.mark.parametrize(
    ("certificate", "status"), [(pem(OTHERS), 403), ("nonsense", 400), ("-----BEGIN CERTIFICATE-----", 400), ("", 400)]
)
async def test_what_does_not_carry_the_same_names_is_no_successor(certificate: str, status: int) -> None:
    answer, said = await asked("POST", "/auth/certificate/successor", {"certificate": certificate})
    assert (answer.status_code, said) == (status, [])


async def test_without_a_certificate_there_is_nothing_to_follow() -> None:
    answer, said = await asked("POST", "/auth/certificate/successor", {"certificate": pem(NEXT)}, shown=None)
    assert (answer.status_code, said) == (404, [])


@pytest.mark.parametrize(
    ("certificate", "bound"),
    [("this", peer_of(PRESENT).thumbprint), ("A" * 43, "A" * 43), (None, None)],
    ids=["its own", "another", "none"],
)
async def test_a_token_is_bound_to_the_certificate_of_the_connection_or_to_another(
    certificate: str | None, bound: str | None
) -> None:
    answer, said = await asked("POST", "/tokens", {"name": "ci", "certificate": certificate})
    assert answer.status_code == 201
    assert isinstance(said[0], CreateToken)
    assert said[0].certificate == bound


async def test_a_token_cannot_be_bound_to_a_certificate_that_is_not_there() -> None:
    assert (await asked("POST", "/tokens", {"name": "ci", "certificate": "this"}, shown=None))[0].status_code == 404
    assert (await asked("POST", "/tokens", {"name": "ci", "certificate": "that"}))[0].status_code == 400


async def test_the_report_of_a_migration_is_asked_for_some_days() -> None:
    answer, said = await asked("GET", "/admin/migration?days=7")
    assert (answer.status_code, said) == (200, [AskMigration(ACTOR, 7)])
    assert (await asked("GET", "/admin/migration?days=0"))[0].status_code == 400

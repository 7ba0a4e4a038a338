"""What becomes of requests when the CA cannot sign, or is asked by who should not."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from interlock_certs import issuing
from interlock_certs.errors import IssuingAwaited, JoinRefused, NotRenewable, TokenAway
from interlock_certs.issuing import Issuing
from interlock_common.errors import Unavailable


class Signing:
    """Signs as an authority does, once ``how`` has let it."""

    def __init__(self, authority: Any, how: Any) -> None:
        self.bundle_pem: bytes = authority.bundle_pem
        self.certificates: list[x509.Certificate] = authority.certificates
        self._authority = authority
        self._how = how

    def issue(self, identity: str, key: Any, grant: Any) -> Any:
        self._how()
        return self._authority.issue(identity, key, grant)


def made(world: Any, how: Any) -> Issuing:
    signing, profiles = Signing(world.authority, how), world.issuing._profiles
    return Issuing(signing, world.drops, world.engine, world.announcer, profiles, world.clock)


@contextmanager
def stuck() -> Generator[Any]:
    released = threading.Event()
    try:
        yield lambda: released.wait(10)
    finally:
        released.set()


async def test_a_ca_that_cannot_sign_is_unavailable_and_keeps_its_files_to_itself(world: Any, csr: Any) -> None:
    def fail() -> None:
        raise IssuingAwaited("the issuing CA has expired: put root.key back into CA_DIR /data/ca")

    token = world.token("auth")
    with pytest.raises(Unavailable) as refused:
        await made(world, fail).enrol("auth", token, csr())
    assert "/data" not in refused.value.detail
    assert await world.issuing.enrol("auth", token, csr())  # the token was not used up


async def test_a_token_that_does_not_answer_is_unavailable(
    world: Any, csr: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuing, "_SIGN_SECONDS", 0.05)
    with stuck() as how, pytest.raises(TokenAway, match="did not sign within"):
        await made(world, how).renew("auth", x509.load_der_x509_csr(csr()).public_bytes(Encoding.PEM).decode())


async def test_the_bus_and_its_administrator_cannot_be_re_enrolled(world: Any, csr: Any) -> None:
    for identity in ("bus", "bus-admin"):
        leaf = await world.issuing.issue_own(identity, csr(), world.issuing._profiles.of("auth").lifetime, ())
        with pytest.raises(NotRenewable, match=f"the certificate of {identity} is made by certs"):
            await world.issuing.reenrol(leaf.certificate, csr())


async def test_a_certificate_that_was_not_recorded_does_not_re_enrol(world: Any, csr: Any) -> None:
    leaf = await world.issuing.enrol("auth", world.token("auth"), csr())
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder().subject_name(leaf.certificate.subject).issuer_name(leaf.certificate.issuer)
        .public_key(key.public_key()).serial_number(leaf.certificate.serial_number)
        .not_valid_before(leaf.not_before).not_valid_after(leaf.not_after)
    )  # fmt: skip
    twin = builder.sign(key, hashes.SHA256())
    with pytest.raises(JoinRefused, match="certs does not know it"):
        await world.issuing.reenrol(twin, csr())


async def test_who_was_refused_is_told(world: Any, csr: Any) -> None:
    with pytest.raises(JoinRefused):
        await world.issuing.enrol("auth", "guess", csr())
    assert [identity for identity, _ in world.announcer.refusals] == ["auth"]

"""Where no certificate is brought, the edge makes one, keeps it, and makes another before it ends."""

import ssl
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.errors import ConfigurationError
from interlock_common.testing.clock import ManualClock
from interlock_gateway.config import Settings
from interlock_gateway.tls_front.automatic import Automatic, KeyKind, listed_names
from interlock_gateway.tls_front.front import Source, TlsFront


def names_of(certificate: x509.Certificate) -> set[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def leaf_of(automatic: Automatic) -> x509.Certificate:
    return x509.load_pem_x509_certificate(automatic.cert.read_bytes())


def test_the_certificate_has_the_names_a_deployment_uses_and_an_rsa_key_of_4096_bits(tmp_path: Path) -> None:
    settings = Settings(ssl=True, identity_dir=tmp_path, auto_cert_sans="mcp.example.com, 192.0.2.7")
    source = Source.of(settings, SYSTEM_CLOCK)
    assert source is not None
    leaf = TlsFront(source, SYSTEM_CLOCK).leaf
    assert names_of(leaf) == {
        "localhost", "gateway", "nginx", "127.0.0.1", "::1", "mcp.example.com", "192.0.2.7"
    }  # fmt: skip
    key = leaf.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 4096
    lived = leaf.not_valid_after_utc - SYSTEM_CLOCK.now()
    assert timedelta(days=364) < lived <= timedelta(days=365)
    assert stat.S_IMODE((tmp_path / "front" / "key.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize(("kind", "curve"), [("p256", "secp256r1"), ("p384", "secp384r1")])
def test_its_key_may_be_on_a_curve_and_strict_clients_take_it(tmp_path: Path, kind: KeyKind, curve: str) -> None:
    automatic = Automatic(tmp_path, (), kind, SYSTEM_CLOCK)
    automatic.ensure()
    key = leaf_of(automatic).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == curve
    context = ssl.create_default_context(cafile=automatic.cert)
    assert context.verify_flags & ssl.VERIFY_X509_STRICT


def test_it_is_kept_until_a_third_of_its_life_is_left_or_a_name_is_missing(tmp_path: Path) -> None:
    clock = ManualClock()
    automatic = Automatic(tmp_path, (), "p256", clock)
    automatic.ensure()
    first = leaf_of(automatic)
    clock.advance(timedelta(days=240).total_seconds())
    automatic.ensure()
    assert leaf_of(automatic) == first
    more = Automatic(tmp_path, ("mcp.example.com",), "p256", clock)
    more.ensure()
    second = leaf_of(more)
    assert "mcp.example.com" in names_of(second)
    clock.advance(timedelta(days=244).total_seconds())
    more.ensure()
    assert leaf_of(more) != second


async def test_a_running_edge_makes_the_next_one_in_time(tmp_path: Path) -> None:
    clock = ManualClock()
    settings = Settings(ssl=True, auto_cert_dir=tmp_path, auto_cert_key="p256")
    source = Source.of(settings, clock)
    assert source is not None
    front = TlsFront(source, clock)
    first = front.leaf
    clock.advance(timedelta(days=250).total_seconds())
    assert await front.look()
    assert front.leaf != first


def test_names_that_are_none_and_folders_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="AUTO_CERT_SANS has 'ex ample'"):
        listed_names("localhost,ex ample")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="no certificate can be kept in AUTO_CERT_DIR"):
        Automatic(tmp_path / "file", (), "p256", SYSTEM_CLOCK).ensure()

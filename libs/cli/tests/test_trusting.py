import ssl
from pathlib import Path

import pytest

from interlock_cli.errors import StateUnusable
from interlock_cli.trusting import trust
from interlock_common.testing.chains import ChainAuthority

ROOT = ChainAuthority.root()


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(ROOT.pem)
    return path


def test_a_gateways_ca_counts_beside_those_of_the_system_or_alone(ca: Path) -> None:
    alone = trust(ca, nothing_else=True).get_ca_certs(binary_form=True)
    assert alone == [ssl.PEM_cert_to_DER_cert(ROOT.pem.decode())]
    assert alone[0] in trust(ca).get_ca_certs(binary_form=True)


def test_a_client_certificate_comes_from_the_environment(
    ca: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = ROOT.issue("ada")
    cert, key = pair.write(tmp_path)
    monkeypatch.setenv("INTERLOCK_CLIENT_CERT", str(cert))
    with pytest.raises(StateUnusable, match=r"INTERLOCK_CLIENT_CERT .*cert\.pem with INTERLOCK_CLIENT_KEY"):
        trust(ca)
    monkeypatch.setenv("INTERLOCK_CLIENT_KEY", str(key))
    trust(ca)
    key.write_bytes(pair.encrypted("sesame"))
    with pytest.raises(StateUnusable, match="is encrypted"):
        trust(ca)


def test_what_holds_no_certificates_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(StateUnusable, match=r"empty\.pem holds no certificates to trust"):
        trust(tmp_path / "empty.pem")

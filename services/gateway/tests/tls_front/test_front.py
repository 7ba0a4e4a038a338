"""What is on the disk is served to the next handshake, as soon as it is whole; until then what was there before."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.testing.chains import ChainAuthority, Pair
from interlock_gateway.config import Settings
from interlock_gateway.tls_front.front import Source, TlsFront

ROOT = ChainAuthority.root()


def front_at(directory: Path, **more: Any) -> TlsFront:
    named: dict[str, Any] = {"cert_file": directory / "cert.pem", "key_file": directory / "key.pem"}
    source = Source.of(Settings(ssl=True, **(named | more)), SYSTEM_CLOCK)
    assert source is not None
    return TlsFront(source, SYSTEM_CLOCK)


def handshake(server: ssl.SSLContext, client: Pair | None = None, directory: Path | None = None) -> x509.Certificate:
    """The certificate that ``server`` shows, in memory; raises ssl.SSLError."""
    context = ssl.create_default_context(cadata=ROOT.pem.decode())
    if client is not None and directory is not None:
        context.load_cert_chain(*client.write(directory, "client"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = context.wrap_bio(to_client, to_server, server_hostname="localhost")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    done = [False, False]
    while not all(done):
        for index, side in enumerate((ours, theirs)):
            try:
                side.do_handshake()
                done[index] = True
            except ssl.SSLWantReadError:
                continue
    shown = ours.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown)


async def test_the_next_handshake_gets_what_was_replaced(tmp_path: Path) -> None:
    old, new = ROOT.issue(), ROOT.issue()
    old.write(tmp_path)
    front = front_at(tmp_path)
    assert handshake(front.context()) == old.leaf
    assert not await front.look()
    new.write(tmp_path)
    assert await front.look()
    assert handshake(front.context()) == new.leaf


async def test_half_of_a_pair_is_not_served_and_the_other_half_completes_it(tmp_path: Path) -> None:
    old, new = ROOT.issue(), ROOT.issue()
    cert, key = old.write(tmp_path)
    front = front_at(tmp_path)
    cert.write_bytes(new.chain)
    with structlog.testing.capture_logs() as logs:
        assert not await front.look()
        assert not await front.look()
    assert handshake(front.context()) == old.leaf
    (log,) = [log for log in logs if "reason" in log]
    assert log["log_level"] == "warning"
    assert "is not the private key of the certificate" in log["reason"]
    key.write_bytes(new.key)
    assert await front.look()
    assert handshake(front.context()) == new.leaf


@pytest.mark.parametrize("spoilt", [b"", b"-----BEGIN CERTIFICATE-----\nnot finished"])
async def test_a_file_that_is_not_whole_yet_changes_nothing(tmp_path: Path, spoilt: bytes) -> None:
    pair = ROOT.issue()
    cert, _ = pair.write(tmp_path)
    front = front_at(tmp_path)
    cert.write_bytes(spoilt)
    assert not await front.look()
    cert.unlink()
    assert not await front.look()
    assert handshake(front.context()) == pair.leaf


async def test_a_secret_that_kubernetes_swaps_is_followed(tmp_path: Path) -> None:
    """A mounted Secret: the files lead through the link ``..data``, which is replaced at once."""
    old, new = ROOT.issue(), ROOT.issue()
    for version, pair in (("..1", old), ("..2", new)):
        (tmp_path / version).mkdir()
        cert, key = pair.write(tmp_path / version)
        cert.rename(cert.with_name("tls.crt"))
        key.rename(key.with_name("tls.key"))
    (tmp_path / "..data").symlink_to("..1")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    front = front_at(tmp_path, cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key")
    assert handshake(front.context()) == old.leaf
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert await front.look()
    assert handshake(front.context()) == new.leaf


async def test_the_set_of_client_authorities_is_replaced_too(tmp_path: Path) -> None:
    other = ChainAuthority.root("other")
    ROOT.issue().write(tmp_path)
    authorities = tmp_path / "ca.pem"
    authorities.write_bytes(ROOT.pem)
    front = front_at(tmp_path, cert_reqs=2, ca_certs=authorities)
    ours, theirs = ROOT.issue("ours"), other.issue("theirs")
    handshake(front.context(), ours, tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(front.context(), theirs, tmp_path)
    authorities.write_bytes(other.pem)
    assert await front.look()
    handshake(front.context(), theirs, tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(front.context(), ours, tmp_path)
    authorities.write_text("emptied")
    assert not await front.look()
    handshake(front.context(), theirs, tmp_path)


async def test_a_passphrase_opens_the_new_key_too(tmp_path: Path) -> None:
    def place(pair: Pair) -> None:
        _, key = pair.write(tmp_path)
        key.write_bytes(pair.encrypted("sesame"))

    place(ROOT.issue())
    front, new = front_at(tmp_path, key_file_password="sesame"), ROOT.issue()
    place(new)
    assert await front.look()
    assert handshake(front.context()) == new.leaf


def test_versions_and_what_may_be_incomplete(tmp_path: Path) -> None:
    ROOT.below("issuing").issue(hosts=()).write(tmp_path)
    alone = x509.load_pem_x509_certificates((tmp_path / "cert.pem").read_bytes())[0]
    (tmp_path / "cert.pem").write_bytes(alone.public_bytes(Encoding.PEM))
    with structlog.testing.capture_logs() as logs:
        context = front_at(tmp_path, tls_minimum_version="1.3").context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    doubts = " ".join(log["doubt"] for log in logs if "doubt" in log)
    assert "names no host" in doubts
    assert "may be incomplete: its issuer CN=issuing is not in the file" in doubts

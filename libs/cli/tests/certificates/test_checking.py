"""``interlock certs check`` and ``mcp-check``: what they find, how they say it, and the exit code."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from interlock_cli.certificates import form
from interlock_cli.certificates.below import Branch, make_all
from interlock_cli.certificates.checking import Asked, Checked, Key, Level, check
from interlock_cli.certificates.errors import FileUnusable
from interlock_cli.certificates.files import Writing
from interlock_cli.certificates.finding import certificate_files
from interlock_cli.certificates.form import Leaf, Purpose, Validity
from interlock_cli.certificates.front import alternative_names, make_front
from interlock_cli.certificates.keys import KeyForm, KeyType, private_pem
from interlock_cli.certificates.plugin_config import EXAMPLES
from interlock_cli.certificates.workshop import Workshop
from interlock_common.testing.clock import ManualClock

DAY = 86400.0
P256 = KeyForm(KeyType.P256)


@pytest.fixture
def shop() -> Workshop:
    return Workshop(Writing(force=True), P256, ManualClock())


def asked(shop: Workshop, **more: Any) -> Asked:
    return Asked(shop.clock.now(), **more)


def codes(checked: Checked) -> dict[str, Level]:
    return {finding.code: finding.level for finding in checked.findings}


def everything(folder: Path, shop: Workshop, *, days: int = 825, ca_days: int = 3650) -> None:
    make_all(folder, Branch(shop, "CA", folder / "ca", days, ca_days), EXAMPLES)


def test_a_fresh_pair_is_fine_until_thirty_days_before_its_end(tmp_path: Path, shop: Workshop) -> None:
    make_front(shop, tmp_path, 90)
    path, clock = tmp_path / "cert.pem", shop.clock
    assert isinstance(clock, ManualClock)
    found: list[tuple[int | None, dict[str, Level], bool]] = []
    for later in (0, 60, 1, 23, 7):
        clock.advance(later * DAY)
        checked = check(path, asked(shop))
        found.append((checked.days_left, codes(checked), checked.is_fine))
    assert found == [
        (90, {}, True),
        (30, {}, True),
        (29, {"expires_soon": Level.WARNING}, False),
        (6, {"expires_soon": Level.ERROR}, False),
        (-1, {"expired": Level.ERROR}, False),
    ]


def test_a_threshold_is_what_one_says(tmp_path: Path, shop: Workshop) -> None:
    make_front(shop, tmp_path, 90)
    assert codes(check(tmp_path / "cert.pem", asked(shop, threshold=91))) == {"expires_soon": Level.WARNING}
    assert codes(check(tmp_path / "cert.pem", asked(shop, threshold=0))) == {}


def test_a_certificate_of_the_future_does_not_count_yet(tmp_path: Path, shop: Workshop) -> None:
    make_front(shop, tmp_path, 90)
    early = Asked(shop.clock.now() - timedelta(days=1))
    assert codes(check(tmp_path / "cert.pem", early)) == {"not_yet_valid": Level.ERROR}


def test_a_key_of_another_certificate_is_found(tmp_path: Path, shop: Workshop) -> None:
    make_front(shop, tmp_path, 90)
    (tmp_path / "key.pem").write_bytes(private_pem(P256.new()))
    checked = check(tmp_path / "cert.pem", asked(shop))
    assert (checked.key, codes(checked)["key_mismatch"]) == (Key.WRONG, Level.ERROR)


def test_an_encrypted_key_is_compared_where_its_passphrase_is_known(tmp_path: Path, shop: Workshop) -> None:
    make_front(shop, tmp_path, 90)
    key = tmp_path / "key.pem"
    opened = check(tmp_path / "cert.pem", asked(shop))
    key.write_bytes(private_pem(P256.new(), b"correct horse"))
    closed = check(tmp_path / "cert.pem", asked(shop))
    assert (opened.key, closed.key, closed.is_fine) == (Key.FITS, Key.ENCRYPTED, True)
    wrong = check(tmp_path / "cert.pem", asked(shop, passphrase=b"wrong"))
    assert "the passphrase does not open" in wrong.findings[0].text
    right = check(tmp_path / "cert.pem", asked(shop, passphrase=b"correct horse"))
    assert "key_mismatch" in codes(right)


def test_a_key_that_everybody_may_read_is_noted(tmp_path: Path, shop: Workshop) -> None:
    make_front(shop, tmp_path, 90)
    (tmp_path / "key.pem").chmod(0o644)
    checked = check(tmp_path / "cert.pem", asked(shop))
    assert (codes(checked), checked.is_fine) == ({"key_open": Level.NOTE}, True)


def test_the_chain_leads_to_the_ca_beside(tmp_path: Path, shop: Workshop) -> None:
    everything(tmp_path, shop)
    for path in certificate_files([tmp_path]):
        assert check(path, asked(shop)).findings == ()


def test_a_ca_of_the_same_name_is_not_the_ca(tmp_path: Path, shop: Workshop) -> None:
    everything(tmp_path / "a", shop)
    everything(tmp_path / "b", shop)
    (tmp_path / "a/gateway/ca.crt").write_bytes((tmp_path / "b/gateway/ca.crt").read_bytes())
    checked = check(tmp_path / "a/gateway/client.crt", asked(shop))
    assert codes(checked) == {"untrusted": Level.ERROR}
    assert "another of the same name" in checked.findings[0].text


@pytest.mark.parametrize(
    ("ca", "said"),
    [(b"junk", "is not PEM"), (b"", "is empty")],
)
def test_a_ca_that_cannot_be_read_is_told(tmp_path: Path, shop: Workshop, ca: bytes, said: str) -> None:
    everything(tmp_path, shop)
    (tmp_path / "gateway/ca.crt").write_bytes(ca)
    assert said in check(tmp_path / "gateway/client.crt", asked(shop)).findings[0].text


def test_an_unknown_issuer_and_an_expired_one_are_told_apart(tmp_path: Path, shop: Workshop) -> None:
    everything(tmp_path / "a", shop, ca_days=40)
    other = Branch(shop, "Another CA", tmp_path / "other", 100, 100)
    other.make_ca()
    leaf = tmp_path / "a/gateway/client.crt"
    anchors = (x509.load_pem_x509_certificate((tmp_path / "other/ca.crt").read_bytes()),)
    [unknown] = check(leaf, asked(shop, anchors=anchors)).findings
    assert "its issuer CN=CA,O=Interlock is not there" in unknown.text
    clock = shop.clock
    assert isinstance(clock, ManualClock)
    clock.advance(41 * DAY)
    assert codes(check(leaf, asked(shop))) == {"expired": Level.ERROR}, "what its CA did since is another question"


def test_an_issuer_that_is_no_ca_is_told(tmp_path: Path, shop: Workshop) -> None:
    now = shop.clock.now()
    validity = Validity(now, now + timedelta(days=90))
    leaf = Leaf("signer", alternative_names(("signer",)), Purpose.SERVER)
    signer_key, key = P256.new(), P256.new()
    signer = form.self_signed(leaf, signer_key.public_key(), validity).sign(signer_key, hashes.SHA256())
    below = form.leaf(leaf, key.public_key(), signer, validity).sign(signer_key, hashes.SHA256())
    (tmp_path / "leaf.crt").write_bytes(below.public_bytes(Encoding.PEM))
    [finding] = check(tmp_path / "leaf.crt", asked(shop, anchors=(signer,))).findings
    assert "is no CA" in finding.text


def test_a_root_that_was_changed_does_not_hold(tmp_path: Path, shop: Workshop) -> None:
    Branch(shop, "CA", tmp_path, 9, 90).make_ca()
    path = tmp_path / "ca.crt"
    root = x509.load_pem_x509_certificate(path.read_bytes())
    assert codes(check(path, asked(shop))) == {}
    assert codes(check(path, asked(shop, anchors=(root,)))) == {}
    der = root.public_bytes(Encoding.DER)
    changed = x509.load_der_x509_certificate(der[:-1] + bytes([der[-1] ^ 1]))
    path.write_bytes(changed.public_bytes(Encoding.PEM))
    assert codes(check(path, asked(shop))) == {"untrusted": Level.ERROR}


def test_without_its_ca_a_chain_is_not_judged(tmp_path: Path, shop: Workshop) -> None:
    everything(tmp_path, shop)
    (tmp_path / "gateway/ca.crt").unlink()
    checked = check(tmp_path / "gateway/client.crt", asked(shop))
    assert (codes(checked), checked.is_fine) == ({"chain_unknown": Level.NOTE}, True)


def test_a_small_key_is_weak(tmp_path: Path, shop: Workshop) -> None:
    now, key = shop.clock.now(), rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    leaf = Leaf("a", alternative_names(("a",)), Purpose.SERVER)
    weak = form.self_signed(leaf, key.public_key(), Validity(now, now + timedelta(days=90)))
    (tmp_path / "cert.pem").write_bytes(weak.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    [finding] = check(tmp_path / "cert.pem", asked(shop)).findings
    assert "1024 bits only" in finding.text


def test_the_table_the_document_and_the_exit_code_agree(certs: Any) -> None:
    assert certs("mcp-all", MCP_CERT_DAYS="20").exit_code == 0
    table = certs("mcp-check")
    assert table.exit_code == 1
    head, *lines = table.stdout.splitlines()
    assert head.split() == ["file", "names", "expires", "days", "key", "standing"]
    assert sum("expires in 19 days" in line for line in lines) == 4
    told = certs("mcp-check", "--json")
    document = json.loads(told.stdout)
    assert (told.exit_code, document["ok"], document["threshold_days"]) == (1, False, 30)
    by_file = {each["file"]: each for each in document["certificates"]}
    gateway = by_file["certs/mcp/gateway/client.crt"]
    assert (gateway["days_left"], gateway["key"], gateway["problems"][0]["code"]) == (19, "fits", "expires_soon")
    assert by_file["certs/mcp/ca/ca.crt"]["ok"] is True
    assert certs("mcp-check", "--days", "10").exit_code == 0
    assert certs("mcp-check", CERT_WARNING_DAYS="10").exit_code == 0


def test_a_copy_of_the_ca_that_differs_is_found(certs: Any) -> None:
    assert certs("mcp-all").exit_code == 0
    assert certs("mcp-check").exit_code == 0
    copy = certs.path("mcp/gateway/ca.crt")
    copy.write_bytes(copy.read_bytes() + b"\n")
    result = certs("mcp-check", "--json")
    assert result.exit_code == 1
    assert [each["code"] for each in json.loads(result.stdout)["problems"]] == ["ca_differs"]


def test_the_full_text_says_everything(certs: Any) -> None:
    assert certs("mcp-ca", "--permit", "example.com").exit_code == 0
    assert certs("client", "ada@example.com").exit_code == 0
    text = certs("check", "--text").stdout
    for line in ("CA: yes, path length 0", "permitted: DNS:example.com", "e-mail:ada@example.com", "clientAuth",
                 "basicConstraints (critical)", "SHA-256 fingerprint", "key cert sign, crl sign"):  # fmt: skip
        assert line in text


def test_nothing_to_check_is_not_fine(certs: Any) -> None:
    for command in (("mcp-check",), ("check",), ("check", "missing.pem")):
        assert certs(*command).exit_code == 2


def test_a_file_may_be_named_with_its_key_and_its_ca(certs: Any) -> None:
    assert certs("mtls").exit_code == 0
    leaf, ca, key = (str(certs.path(f"mtls/{name}")) for name in ("client.crt", "ca.crt", "server.key"))
    assert certs("check", leaf, "--ca", ca).exit_code == 0
    assert "server.key is not its key" in certs("check", leaf, "--key", key).stdout
    assert certs("check", leaf, ca, "--key", key).exit_code == 2
    assert certs("check", leaf, "--ca", key).exit_code == 2


def test_unreadable_certificates_are_rows_and_keys_are_none(certs: Any) -> None:
    assert certs("all", KEY_SIZE="2048").exit_code == 0
    certs.path("broken.crt").write_text("junk")
    result = certs("check", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [(Path(each["file"]).name, each["ok"]) for each in document["certificates"]] == [
        ("broken.crt", False), ("cert.pem", True),
    ]  # fmt: skip


def test_hidden_folders_are_not_looked_into(tmp_path: Path, shop: Workshop) -> None:
    """A mounted Kubernetes Secret has its files a second time in ``..data``."""
    make_front(shop, tmp_path / "..data", 90)
    (tmp_path / "tls.crt").symlink_to(tmp_path / "..data" / "cert.pem")
    assert certificate_files([tmp_path]) == [tmp_path / "tls.crt"]
    with pytest.raises(FileUnusable):
        certificate_files([tmp_path / "none"])

"""What each command makes, what it leaves alone, and what it refuses."""

import os
import stat
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from interlock_cli.certificates.authority import open_authority
from interlock_cli.certificates.below import Branch, make_gateway
from interlock_cli.certificates.errors import AuthorityUnusable, NameRefused
from interlock_cli.certificates.files import Writing
from interlock_cli.certificates.front import make_front
from interlock_cli.certificates.keys import KeyForm, KeyType
from interlock_cli.certificates.names import client_name, plugin_name
from interlock_cli.certificates.text import names_of
from interlock_cli.certificates.workshop import Workshop
from interlock_common.testing.clock import ManualClock

P256 = KeyForm(KeyType.P256)


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def days(certificate: x509.Certificate) -> int:
    return (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_front_end_gets_a_pair_with_the_names_it_is_called_by(certs: Any) -> None:
    result = certs("front", "--san", "gateway.example.com", "--san", "localhost")
    assert result.exit_code == 0, result.output
    assert certs.files() == {"cert.pem", "key.pem"}
    certificate = read(certs.path("cert.pem"))
    assert names_of(certificate) == ["localhost", "gateway", "nginx", "127.0.0.1", "::1", "gateway.example.com"]
    assert days(certificate) == 365
    assert mode(certs.path("key.pem")) == 0o600
    assert mode(certs.path("cert.pem")) == 0o644


def test_the_key_of_a_front_end_is_rsa_with_4096_bits_unless_asked_otherwise(certs: Any) -> None:
    assert certs("front", KEY_TYPE="rsa").exit_code == 0
    key = read(certs.path("cert.pem")).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 4096


def test_variables_say_how_long_how_large_and_where(certs: Any) -> None:
    variables = {"CERT_DIR": "elsewhere", "CERT_DAYS": "9", "KEY_SIZE": "2048", "KEY_TYPE": "rsa"}
    assert certs("front", **variables).exit_code == 0
    certificate = read(certs.folder / "elsewhere" / "cert.pem")
    assert days(certificate) == 9
    key = certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048


@pytest.mark.parametrize("variables", [{"KEY_SIZE": "1024"}, {"CERT_DAYS": "0"}, {"CERT_DAYS": "x"}])
def test_what_is_weak_or_no_number_is_refused(certs: Any, variables: dict[str, str]) -> None:
    assert certs("front", **variables).exit_code == 2
    assert certs.files() == set()


@pytest.mark.parametrize(
    "command",
    [("front",), ("jwt",), ("jwt-ecdsa",), ("all",), ("mcp-ca",), ("mcp-gateway",), ("mcp-plugin", "a"), ("mcp-all",),
     ("mtls",), ("client", "ada")],
)  # fmt: skip
def test_what_is_there_is_left_alone_and_that_is_said(certs: Any, command: tuple[str, ...]) -> None:
    assert certs(*command, KEY_SIZE="2048").exit_code == 0
    before = certs.contents()
    again = certs(*command, KEY_SIZE="2048")
    assert again.exit_code == 0, again.output
    assert certs.contents() == before
    assert "left alone" in again.stdout
    assert "made" not in again.stdout


def test_force_replaces(certs: Any) -> None:
    assert certs("front").exit_code == 0
    before = certs.contents()
    assert certs("front", "--force").exit_code == 0
    after = certs.contents()
    assert all(after[name] != before[name] for name in before)
    assert len(after) == len(before)


def test_a_passphrase_is_added_and_taken_away(certs: Any) -> None:
    assert certs("front").exit_code == 0
    key = certs.path("key.pem").read_bytes()
    assert certs("passphrase", KEY_FILE_PASSWORD="correct horse").exit_code == 0
    assert certs.files() == {"cert.pem", "key.pem", "key-encrypted.pem"}
    encrypted = certs.path("key-encrypted.pem").read_bytes()
    assert b"ENCRYPTED PRIVATE KEY" in encrypted
    assert mode(certs.path("key-encrypted.pem")) == 0o600
    certs.path("key.pem").unlink()

    wrong = certs("remove-passphrase", KEY_FILE_PASSWORD="wrong")
    assert wrong.exit_code == 2
    assert "the passphrase does not open certs/key-encrypted.pem" in wrong.stderr
    assert "key.pem" not in certs.files() - {"key-encrypted.pem"}

    assert certs("remove-passphrase", KEY_FILE_PASSWORD="correct horse").exit_code == 0
    assert certs.path("key.pem").read_bytes() == key
    assert certs.path("key-encrypted.pem").read_bytes() == encrypted
    assert mode(certs.path("key.pem")) == 0o600


def test_without_a_pair_the_key_is_never_on_the_disk_in_clear(certs: Any) -> None:
    assert certs("passphrase", KEY_FILE_PASSWORD="correct horse").exit_code == 0
    assert certs.files() == {"cert.pem", "key-encrypted.pem"}
    key = load_pem_private_key(certs.path("key-encrypted.pem").read_bytes(), b"correct horse")
    assert key.public_key() == read(certs.path("cert.pem")).public_key()
    kept = certs("front")
    assert (kept.exit_code, certs.files()) == (0, {"cert.pem", "key-encrypted.pem"})


def test_a_passphrase_comes_from_a_file_or_standard_input_but_from_no_argument(certs: Any) -> None:
    secret = certs.folder / "secret"
    secret.write_text("from a file\n")
    assert certs("passphrase", "--passphrase-file", str(secret)).exit_code == 0
    assert certs("remove-passphrase", "--passphrase-file", "-", text="from a file\n").exit_code == 0
    assert certs("remove-passphrase", "--force", KEY_FILE_PASSWORD_FILE=str(secret)).exit_code == 0
    assert certs("passphrase", "--passphrase", "x").exit_code == 2


def test_without_a_passphrase_nothing_is_made(certs: Any) -> None:
    result = certs("passphrase")
    assert (result.exit_code, certs.files()) == (2, set())
    assert "KEY_FILE_PASSWORD" in result.stderr


def test_keys_of_tokens_are_rsa_4096_and_p256(certs: Any) -> None:
    assert certs("jwt").exit_code == 0
    assert certs("jwt-ecdsa").exit_code == 0
    assert certs.files() == {f"jwt/{name}.pem" for name in ("private", "public", "ec_private", "ec_public")}
    key = load_pem_private_key(certs.path("jwt/private.pem").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 4096
    ec_key = load_pem_private_key(certs.path("jwt/ec_private.pem").read_bytes(), None)
    assert isinstance(ec_key, ec.EllipticCurvePrivateKey)
    assert ec_key.curve.name == "secp256r1"
    assert {mode(certs.path(f"jwt/{name}.pem")) for name in ("private", "ec_private")} == {0o600}


def test_the_public_half_comes_back_from_the_private_one(certs: Any) -> None:
    assert certs("jwt-ecdsa").exit_code == 0
    before = certs.contents()
    certs.path("jwt/ec_public.pem").unlink()
    assert certs("jwt-ecdsa").exit_code == 0
    assert certs.contents() == before


def test_halves_of_two_pairs_are_told(certs: Any) -> None:
    assert certs("jwt-ecdsa").exit_code == 0
    public = certs.path("jwt/ec_public.pem").read_bytes()
    assert certs("jwt-ecdsa", "--force").exit_code == 0
    certs.path("jwt/ec_public.pem").write_bytes(public)
    result = certs("jwt-ecdsa")
    assert result.exit_code == 2
    assert "ec_public.pem is not the public half of" in result.stderr
    certs.path("jwt/ec_private.pem").unlink()
    assert "is there without" in certs("jwt-ecdsa").stderr


def test_all_makes_the_pair_and_the_keys_of_tokens(certs: Any) -> None:
    assert certs("all", KEY_SIZE="2048").exit_code == 0
    assert certs.files() == {"cert.pem", "key.pem", "jwt/private.pem", "jwt/public.pem"}


def test_the_gateway_and_its_plugins_have_one_ca(certs: Any) -> None:
    for command in (("mcp-ca",), ("mcp-gateway",), ("mcp-plugin", "pii", "--san", "pii.example.com")):
        assert certs(*command).exit_code == 0
    assert certs.files() == {
        "mcp/ca/ca.key", "mcp/ca/ca.crt", "mcp/gateway/client.key", "mcp/gateway/client.crt", "mcp/gateway/client.pem",
        "mcp/gateway/ca.crt", "mcp/plugins/pii/server.key", "mcp/plugins/pii/server.crt", "mcp/plugins/pii/ca.crt",
    }  # fmt: skip
    contents = certs.contents()
    assert len({contents[name] for name in contents if name.endswith("ca.crt")}) == 1
    assert contents["mcp/gateway/client.pem"] == contents["mcp/gateway/client.crt"] + contents["mcp/gateway/client.key"]
    server = read(certs.path("mcp/plugins/pii/server.crt"))
    assert names_of(server) == ["pii", "mcp-plugin-pii", "localhost", "127.0.0.1", "pii.example.com"]
    assert days(server) == 825
    assert days(read(certs.path("mcp/ca/ca.crt"))) == 3650
    assert mode(certs.path("mcp/gateway/client.pem")) == 0o600
    assert mode(certs.path("mcp/ca/ca.key")) == 0o600


@pytest.mark.parametrize(
    "name",
    ["", "..", ".", "../x", "a/b", "a\\b", "/etc", "-x", "a b", "a\n", "x\0", "ü", "a" * 53, "a..b", "~", "$(id)"],
)
def test_a_name_that_leads_elsewhere_is_refused(certs: Any, name: str) -> None:
    for command in ("mcp-plugin", "client"):
        result = certs(command, "--", name)
        if not (command == "client" and name == "a" * 53):
            assert result.exit_code == 2, (command, name)
            assert certs.files() == set()


@given(st.text(st.sampled_from("aZ0._-@+/\\\0 \n~$ü"), max_size=70))
def test_a_name_that_is_taken_is_one_plain_component_of_a_path(name: str) -> None:
    for check in (plugin_name, client_name):
        with suppress(NameRefused):
            assert Path("folder", check(name)).parts == ("folder", name)
            assert name.isascii()
            assert name.isprintable()
            assert not name.startswith((".", "-"))


@pytest.mark.parametrize("name", ["ca", "CA", "server", "ada@../x", "@", "a@b/c", "a" * 65])
def test_a_client_is_never_called_like_a_file_beside_it(certs: Any, name: str) -> None:
    assert certs("client", name).exit_code == 2
    assert certs.files() == set()


@pytest.mark.parametrize("organization", ["", " ", "x" * 65, "a\nb"])
def test_an_organization_fits_into_a_subject(certs: Any, organization: str) -> None:
    assert certs("client", "ada", "--organization", organization).exit_code == 2
    assert certs.files() == set()


@pytest.mark.parametrize(
    "name", ["a b", "http//x", "http://", "://x", "ada@", "-", "a" * 254, "bücher.example", "a@b c", "x\n", "1.2.3.4/8"]
)
def test_an_alternative_name_is_a_name(certs: Any, name: str) -> None:
    assert certs("front", "--san", name).exit_code == 2
    assert certs.files() == set()


def test_clients_are_persons_and_services(certs: Any) -> None:
    assert certs("client", "ada@example.com", "--organization", "Analytical").exit_code == 0
    assert certs("client", "reporter", "--san", "spiffe://example.com/reporter").exit_code == 0
    assert certs("mtls").exit_code == 0
    assert certs.files() == {
        f"mtls/{name}" for who in ("ada@example.com", "reporter", "client") for name in
        (f"{who}.key", f"{who}.crt", f"{who}.pem")
    } | {"mtls/ca.key", "mtls/ca.crt", "mtls/server.key", "mtls/server.crt"}  # fmt: skip
    ada = read(certs.path("mtls/ada@example.com.crt"))
    assert ada.subject.rfc4514_string() == "CN=ada@example.com,O=Analytical"
    names = ada.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.RFC822Name) == ["ada@example.com"]
    assert names_of(read(certs.path("mtls/reporter.crt"))) == ["reporter", "spiffe://example.com/reporter"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to group 0")
def test_containers_of_group_0_may_read_keys_where_that_is_asked_for(certs: Any) -> None:
    assert certs("mcp-gateway").exit_code == 0
    assert mode(certs.path("mcp/gateway/client.key")) == 0o600
    for command in ("mcp-all", "mtls", "all"):
        result = certs(command, KEY_SIZE="2048", GROUP_READABLE="1")
        assert result.exit_code == 0, result.output
    for name in ("key.pem", "jwt/private.pem", "mtls/client.pem"):
        assert mode(certs.path(name)) == 0o640
    for name in ("gateway/client.key", "gateway/client.pem", "plugins/example-plugin-a/server.key"):
        path = certs.path(f"mcp/{name}")
        assert (mode(path), path.stat().st_gid) == (0o640, 0)
    assert {mode(certs.path(f"{name}/ca.key")) for name in ("mcp/ca", "mtls")} == {0o600}, "no container signs"


def test_a_key_alone_gets_its_certificate(certs: Any) -> None:
    """Also what an interruption between the two files leaves behind."""
    assert certs("front").exit_code == 0
    certs.path("cert.pem").unlink()
    key = certs.path("key.pem").read_bytes()
    assert certs("front").exit_code == 0
    assert certs.path("key.pem").read_bytes() == key


def test_a_certificate_alone_is_never_replaced(certs: Any) -> None:
    assert certs("front").exit_code == 0
    certs.path("key.pem").unlink()
    before = certs.contents()
    for command in ("front", "passphrase"):
        result = certs(command, KEY_FILE_PASSWORD="x")
        assert (result.exit_code, certs.contents()) == (2, before)
        assert "without" in result.stderr


def test_a_pair_that_does_not_belong_together_is_told(certs: Any) -> None:
    assert certs("front").exit_code == 0
    key = certs.path("key.pem").read_bytes()
    assert certs("front", "--force").exit_code == 0
    certs.path("key.pem").write_bytes(key)
    for command in ("front", "passphrase"):
        result = certs(command, KEY_FILE_PASSWORD="x")
        assert result.exit_code == 2
        assert "certs/key.pem is not the key of the certificate in certs/cert.pem" in result.stderr


def test_force_for_a_leaf_leaves_the_ca_and_a_new_ca_says_what_it_means(certs: Any) -> None:
    assert certs("mcp-all").exit_code == 0
    before = certs.contents()
    assert certs("mcp-all", "--force").exit_code == 0
    after = certs.contents()
    assert {name for name in after if after[name] == before[name]} == {
        name for name in after if name.endswith("ca.crt") or name == "mcp/ca/ca.key"
    }
    forced = certs("mcp-ca", "--force")
    assert "has to be made anew" in forced.stderr
    told = certs("mcp-gateway").stderr
    assert "client.crt is not signed by certs/mcp/ca/ca.crt" in told
    assert "gateway/ca.crt differs" in told
    assert certs("mcp-check").exit_code == 1
    assert certs("mcp-all", "--force").exit_code == 0
    assert certs("mcp-check").exit_code == 0


def test_an_offline_ca_is_missed_only_when_it_is_to_sign(certs: Any) -> None:
    assert certs("mcp-all").exit_code == 0
    certs.path("mcp/ca/ca.key").unlink()
    assert certs("mcp-all").exit_code == 0
    result = certs("mcp-plugin", "late")
    assert result.exit_code == 2
    assert "is there without certs/mcp/ca/ca.key: put the key back" in result.stderr


def test_the_key_of_a_ca_may_have_a_passphrase(certs: Any) -> None:
    assert certs("mcp-ca", CA_KEY_PASSWORD="of the ca").exit_code == 0
    assert b"ENCRYPTED" in certs.path("mcp/ca/ca.key").read_bytes()
    assert certs("mcp-gateway").exit_code == 2
    wrong = certs("mcp-gateway", CA_KEY_PASSWORD="another")
    assert (wrong.exit_code, "does not open certs/mcp/ca/ca.key" in wrong.stderr) == (2, True)
    assert certs("mcp-gateway", CA_KEY_PASSWORD="of the ca").exit_code == 0


def test_a_ca_that_expired_signs_nothing_more(tmp_path: Path) -> None:
    clock = ManualClock()
    shop = Workshop(Writing(), P256, clock)
    branch = Branch(shop, "Old CA", tmp_path / "ca", days=100, ca_days=10)
    make_gateway(tmp_path, branch)
    leaf, ca = read(tmp_path / "gateway/client.crt"), read(tmp_path / "ca/ca.crt")
    assert leaf.not_valid_after_utc == ca.not_valid_after_utc, "a leaf ends with its CA"
    clock.advance(10 * 86400.0)
    with pytest.raises(AuthorityUnusable, match="expired on 2026-01-11: make a new one with --force"):
        open_authority(tmp_path / "ca/ca.key", tmp_path / "ca/ca.crt", clock, None)


def test_a_leaf_is_no_ca(certs: Any) -> None:
    assert certs("mcp-all").exit_code == 0
    for kind in ("key", "crt"):
        certs.path(f"mcp/ca/ca.{kind}").write_bytes(certs.path(f"mcp/gateway/client.{kind}").read_bytes())
    result = certs("mcp-plugin", "late")
    assert result.exit_code == 2
    assert "is no CA certificate" in result.stderr


def test_a_constrained_ca_signs_only_what_it_may(certs: Any) -> None:
    permitted = ("mcp-plugin-a", "a", "localhost", "127.0.0.0/8")
    options = [part for name in permitted for part in ("--permit", name)]
    assert certs("mcp-ca", *options).exit_code == 0
    assert certs("mcp-plugin", "a").exit_code == 0
    result = certs("mcp-plugin", "b", "--san", "10.0.0.1")
    assert result.exit_code == 2
    assert "do not permit b, mcp-plugin-b, 10.0.0.1" in result.stderr
    assert certs("mcp-ca", "--force", "--permit", "a b").exit_code == 2


def test_a_certificate_that_ends_soon_is_left_alone_and_told(tmp_path: Path) -> None:
    clock = ManualClock()
    shop = Workshop(Writing(), P256, clock)
    make_front(shop, tmp_path, 40)
    make_front(shop, tmp_path, 40)
    assert shop.journal.warned == []
    clock.advance(11 * 86400.0)
    make_front(shop, tmp_path, 40)
    clock.advance(30 * 86400.0)
    make_front(shop, tmp_path, 40)
    soon, late = shop.journal.warned
    assert "expires on 2026-02-10" in soon
    assert "expired on 2026-02-10" in late


def test_nothing_is_left_beside_what_is_made(certs: Any) -> None:
    assert certs("mcp-all").exit_code == 0
    assert not [path for path in certs.folder.rglob(".*") if path.is_file()]


def test_a_folder_that_cannot_be_written_is_told(certs: Any) -> None:
    (certs.folder / "certs").write_text("a file")
    result = certs("front")
    assert result.exit_code == 2
    assert "certs/key.pem cannot be written" in result.stderr


def test_a_link_that_leads_nowhere_is_not_followed(certs: Any) -> None:
    target = certs.folder / "elsewhere"
    (certs.folder / "certs").mkdir()
    certs.path("key.pem").symlink_to(target)
    assert certs("front").exit_code == 2
    assert not target.exists()


def test_the_start_of_a_certificate_is_a_moment_ago(certs: Any) -> None:
    assert certs("front").exit_code == 0
    begin = read(certs.path("cert.pem")).not_valid_before_utc
    assert timedelta() < datetime.now(UTC) - begin < timedelta(minutes=5)  # noqa: TID251 - the real one is meant

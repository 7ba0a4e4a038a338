"""Files that somebody edited by hand: each mistake has its own sentence, and nothing else comes out than that."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock_cli.certificates.errors import CertificateError, FileUnusable, PassphraseNeeded, WrongPassphrase
from interlock_cli.certificates.keys import private_pem
from interlock_cli.certificates.pem import MAX_BYTES
from interlock_cli.certificates.reading import (
    certificates_in,
    key_in,
    read_certificate,
    read_certificates,
    read_key,
    read_public_key,
)
from interlock_common.testing.pki import ScratchAuthority

KEY_PEM, CERTIFICATE_PEM = ScratchAuthority().issue(dns=("a.example.com",))
KEY = ec.generate_private_key(ec.SECP256R1())
ENCRYPTED = private_pem(KEY, b"correct horse")
OLD_ENCRYPTED = KEY.private_bytes(
    Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"correct horse")
)
OPENSSH = KEY.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
AGREEMENT = x25519.X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
DER = x509.load_pem_x509_certificate(CERTIFICATE_PEM).public_bytes(Encoding.DER)


def block(label: str, content: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n".encode() + base64.encodebytes(content) + f"-----END {label}-----\n".encode()


def written(folder: Path, content: bytes) -> Path:
    path = folder / "file.pem"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"hello", "is not PEM: there is no line -----BEGIN"),
        (DER, "is a certificate in DER form: convert it to PEM"),
        (b"\x30\x82garbage", "is binary (DER or PKCS#12)"),
        ("\ufeff".encode("utf-16-le") + CERTIFICATE_PEM.decode().encode("utf-16-le"), "is UTF-16 text"),
        (KEY_PEM, "holds no certificate, but a PRIVATE KEY"),
        (CERTIFICATE_PEM[:200], "is cut off: it ends in the middle of a CERTIFICATE"),
        (CERTIFICATE_PEM[:200] + CERTIFICATE_PEM, "a CERTIFICATE has no end before something else begins"),
        (CERTIFICATE_PEM.replace(b"END CERTIFICATE", b"END PRIVATE KEY"), "ends as something else"),
        (CERTIFICATE_PEM[:80] + b"!!!!" + CERTIFICATE_PEM[84:], "is damaged: the certificate cannot be read"),
        (block("CERTIFICATE", DER[:-20]), "is damaged: the certificate cannot be read"),
        (block("CERTIFICATE", b"junk"), "is damaged: the certificate cannot be read"),
        (block("TRUSTED CERTIFICATE", DER), "in OpenSSL's own TRUSTED form"),
        (CERTIFICATE_PEM + block("CERTIFICATE", b"junk"), "(certificate 2) is damaged"),
        (b"A" * (MAX_BYTES + 1), "is larger than 1024 KiB"),
        (b"-----BEGIN A-----\n-----END A-----\n" * 1001, "holds more than 1000 blocks"),
    ],
)
def test_a_file_that_holds_no_certificate_is_told_apart(tmp_path: Path, content: bytes, said: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(FileUnusable) as raised:
        read_certificates(path)
    assert raised.value.detail.startswith(str(path))
    assert said in raised.value.detail


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (CERTIFICATE_PEM, FileUnusable, "holds no private key, but a CERTIFICATE"),
        (KEY_PEM + ENCRYPTED, FileUnusable, "holds 2 private keys"),
        (ENCRYPTED, PassphraseNeeded, "is encrypted: its passphrase is needed"),
        (OLD_ENCRYPTED, PassphraseNeeded, "is encrypted: its passphrase is needed"),
        (OPENSSH, FileUnusable, "in OpenSSH's own form"),
        (AGREEMENT, FileUnusable, "holds a key that cannot sign certificates"),
        (block("PRIVATE KEY", b"junk"), FileUnusable, "is damaged: its PRIVATE KEY cannot be read"),
        (KEY_PEM[:100], FileUnusable, "is cut off"),
    ],
    ids=[
        "certificate",
        "two keys",
        "encrypted",
        "encrypted the old way",
        "OpenSSH",
        "key agreement",
        "junk",
        "cut off",
    ],
)
def test_a_file_that_holds_no_usable_key_is_told_apart(
    tmp_path: Path, content: bytes, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=r".*") as raised:
        read_key(written(tmp_path, content))
    assert said in str(raised.value)


@pytest.mark.parametrize("content", [ENCRYPTED, OLD_ENCRYPTED])
def test_a_wrong_passphrase_is_neither_damage_nor_a_missing_one(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, content)
    assert read_key(path, b"correct horse").public_key() == KEY.public_key()
    with pytest.raises(WrongPassphrase, match="the passphrase does not open"):
        read_key(path, b"wrong")
    damaged = block("ENCRYPTED PRIVATE KEY", b"\x30\x03\x02\x01\x00")
    with pytest.raises(FileUnusable, match="is damaged"):
        read_key(written(tmp_path, damaged), b"correct horse")


def test_a_passphrase_is_not_used_for_a_key_without_one(tmp_path: Path) -> None:
    assert read_key(written(tmp_path, KEY_PEM), b"not needed")


def test_what_editors_add_does_no_harm(tmp_path: Path) -> None:
    for content in (
        CERTIFICATE_PEM.replace(b"\n", b"\r\n"),
        b"subject=CN = a\n\n" + CERTIFICATE_PEM + b"\n\n",
        b"\n".join(b"  " + line for line in CERTIFICATE_PEM.splitlines()),
        CERTIFICATE_PEM.rstrip(),
        KEY_PEM + CERTIFICATE_PEM,
    ):
        assert read_certificate(written(tmp_path, content)).public_bytes(Encoding.DER) == DER


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileUnusable, match="cannot be read: No such file"):
        read_certificates(tmp_path / "missing.pem")
    with pytest.raises(FileUnusable, match="cannot be read: Is a directory"):
        read_key(tmp_path)
    with pytest.raises(FileUnusable, match="holds no public key, but a CERTIFICATE"):
        read_public_key(written(tmp_path, CERTIFICATE_PEM))
    with pytest.raises(FileUnusable, match="its PUBLIC KEY cannot be read"):
        read_public_key(written(tmp_path, block("PUBLIC KEY", b"junk")))


def _mutated(original: bytes) -> st.SearchStrategy[bytes]:
    """The file with some bytes changed, left out or doubled."""

    def mutate(edits: list[tuple[int, bytes, int]]) -> bytes:
        content = original
        for at, inserted, removed in edits:
            place = at % (len(content) + 1)
            content = content[:place] + inserted + content[place + removed :]
        return content

    edit = st.tuples(st.integers(0, 10_000), st.binary(max_size=8), st.integers(0, 40))
    return st.lists(edit, min_size=1, max_size=4).map(mutate)


def _bent(der: bytes, label: str) -> st.SearchStrategy[bytes]:
    """A PEM that is whole around DER that is not."""
    return _mutated(der).map(lambda content: block(label, content))


_LINES = st.sampled_from([
    b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----", b"-----BEGIN PRIVATE KEY-----",
    b"-----END PRIVATE KEY-----", b"-----BEGIN -----", b"-----END -----", b"Proc-Type: 4,ENCRYPTED", b"AAAA", b"=", b"",
])  # fmt: skip
_ANYTHING = st.one_of(
    st.binary(max_size=400),
    st.lists(_LINES, max_size=12).map(b"\n".join),
    _mutated(CERTIFICATE_PEM),
    _mutated(KEY_PEM),
    _mutated(ENCRYPTED),
    _bent(DER, "CERTIFICATE"),
    _bent(KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), "PRIVATE KEY"),
)


def _read_everything(content: bytes) -> Iterator[Callable[[], object]]:
    yield lambda: certificates_in(content, "the file")
    yield lambda: key_in(content, "the file")
    yield lambda: key_in(content, "the file", b"correct horse")


@settings(deadline=None, max_examples=600)
@given(_ANYTHING)
def test_whatever_a_file_holds_is_read_or_refused_in_words(content: bytes) -> None:
    for read in _read_everything(content):
        refused = "the file"
        try:
            read()
        except CertificateError as error:
            refused = error.detail
        assert "the file" in refused
        assert refused.isprintable()

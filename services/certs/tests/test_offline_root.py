"""The root stays with its operator: certs asks for its issuing CA, and the operator signs with openssl."""

import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs.__main__ import main
from interlock_certs.authority import Authority
from interlock_certs.ca_keys import Algorithm, KeyCare
from interlock_certs.errors import ChainBroken, ChainExpired, IssuingAwaited, KeyMismatch, StepRefused
from interlock_certs.generations import Generations
from interlock_certs.plan import Plan
from interlock_certs.profiles import Grant
from interlock_common.testing.clock import ManualClock

DAY = timedelta(days=1)
KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
EXTENSIONS = """
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def openssl(*arguments: str, directory: Path) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=60)


class OfflineRoot:
    """An operator with openssl on another machine."""

    def __init__(self, directory: Path, clock: ManualClock) -> None:
        directory.mkdir()
        self.directory = directory
        self._clock = clock
        (directory / "issuing.ext").write_text(EXTENSIONS)
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-noenc", "-days", "3650",
                "-subj", "/O=Example/CN=Example Offline Root", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                "-keyout", "root.key", "-out", "root.crt",
                directory=directory)  # fmt: skip

    def sign(self, request: Path, days: int = 365) -> bytes:
        """The chain: issuing CA first, root last."""
        openssl("x509", "-req", "-in", str(request), "-CA", "root.crt", "-CAkey", "root.key", "-CAcreateserial",
                "-days", str(days), "-extfile", "issuing.ext", "-out", "issuing.crt",
                directory=self.directory)  # fmt: skip
        return (self.directory / "issuing.crt").read_bytes() + (self.directory / "root.crt").read_bytes()


@pytest.fixture
def clock() -> ManualClock:
    from interlock_common.clock import SYSTEM_CLOCK  # noqa: PLC0415 - openssl signs with the time of the machine

    return ManualClock(SYSTEM_CLOCK.now())


@pytest.fixture
def root(tmp_path: Path, clock: ManualClock) -> OfflineRoot:
    return OfflineRoot(tmp_path / "vault", clock)


@pytest.fixture
def plan(plan: Plan) -> Plan:
    return replace(plan, root="offline")


def awaited(ca: Path, plan: Plan, clock: ManualClock) -> Path:
    with pytest.raises(IssuingAwaited, match=r"have the offline root sign .*issuing\.csr, put the chain .* into "):
        Authority.open(ca, plan, clock)
    return ca / "issuing.csr"


@pytest.mark.parametrize("algorithm", ["p256", "rsa3072"])
def test_an_offline_root_signs_the_request_of_certs(
    root: OfflineRoot, plan: Plan, clock: ManualClock, tmp_path: Path, algorithm: Algorithm
) -> None:
    ca, plan = tmp_path / "ca", replace(plan, care=KeyCare(algorithm, b"a passphrase of certs"))
    request = awaited(ca, plan, clock)
    (ca / "issuing-chain.pem").write_bytes(root.sign(request))
    clock.advance(5)
    authority = Authority.open(ca, plan, clock)
    leaf = authority.issue("auth", KEY, Grant(DAY))
    assert authority.root.subject.rfc4514_string() == "CN=Example Offline Root,O=Example"
    leaf.issuer.verify_directly_issued_by(authority.root)
    assert {file.name for file in ca.iterdir()} == {"root.crt", "issuing.crt", "issuing.key"}
    assert Authority.open(ca, plan, clock).certificates == authority.certificates


def test_the_request_stays_the_same_until_it_is_signed(plan: Plan, clock: ManualClock, tmp_path: Path) -> None:
    first = awaited(tmp_path / "ca", plan, clock)
    key = (tmp_path / "ca" / "next.key").read_bytes()
    assert awaited(tmp_path / "ca", plan, clock) == first
    assert (tmp_path / "ca" / "next.key").read_bytes() == key


def test_a_chain_for_another_key_is_refused_in_words(
    root: OfflineRoot, plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    ca = tmp_path / "ca"
    awaited(ca, plan, clock)
    (ca / "issuing-chain.pem").write_bytes(root.sign(awaited(tmp_path / "other", plan, clock)))
    clock.advance(5)
    with pytest.raises(KeyMismatch, match=r"issuing-chain\.pem has no certificate for the key in .*next\.key"):
        Authority.open(ca, plan, clock)


def test_a_chain_without_its_root_is_refused_in_words(
    root: OfflineRoot, plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    ca = tmp_path / "ca"
    root.sign(awaited(ca, plan, clock))
    (ca / "issuing-chain.pem").write_bytes((root.directory / "issuing.crt").read_bytes())
    with pytest.raises(ChainBroken, match="has no root: put the certificate of the offline root last"):
        Authority.open(ca, plan, clock)


def test_a_root_that_was_pinned_is_the_only_one_that_counts(
    root: OfflineRoot, plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    ca, pinned = tmp_path / "ca", OfflineRoot(tmp_path / "pinned", clock)
    chain = root.sign(awaited(ca, plan, clock))
    (ca / "root.crt").write_bytes((pinned.directory / "root.crt").read_bytes())
    (ca / "issuing-chain.pem").write_bytes(chain)
    clock.advance(5)
    with pytest.raises(ChainBroken, match="is not issued by the root"):
        Authority.open(ca, plan, clock)


def test_the_next_issuing_ca_is_signed_while_certs_runs(
    root: OfflineRoot, plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    ca = tmp_path / "ca"
    (ca / "issuing-chain.pem").parent.mkdir()
    chain = root.sign(awaited(ca, plan, clock), days=30)
    (ca / "issuing-chain.pem").write_bytes(chain)
    clock.advance(5)
    authority = Authority.open(ca, plan, clock)
    first = authority.issue("auth", KEY, Grant(DAY)).issuer
    clock.advance(21 * 86400)
    assert authority.issue("auth", KEY, Grant(DAY)).issuer == first  # due, and the request lies there
    following = root.sign(ca / "issuing.csr", days=90)
    (ca / "issuing-chain.pem").write_bytes(b"nonsense")
    assert authority.issue("auth", KEY, Grant(DAY)).issuer == first  # what cannot be used changes nothing
    (ca / "issuing-chain.pem").write_bytes(following)
    second = authority.issue("auth", KEY, Grant(DAY)).issuer
    assert second != first
    assert [issuer.certificate for issuer in authority.issuers] == [second, first]


def test_the_commands_write_the_request_and_place_the_chain(
    root: OfflineRoot, plan: Plan, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    ca, signed = tmp_path / "ca", tmp_path / "signed.pem"
    monkeypatch.setenv("CA_DIR", str(ca))
    assert main(["issuing-request"]) == 0
    assert "have the offline root sign" in capsys.readouterr().out
    signed.write_bytes(root.sign(ca / "issuing.csr"))
    rootless = (root.directory / "issuing.crt").read_bytes()
    for content, why in ((b"nonsense", "holds no PEM certificate"), (rootless, "has no root")):
        (tmp_path / "wrong.pem").write_bytes(content)
        assert main(["issuing-chain", str(tmp_path / "wrong.pem")]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert why in line
        assert not (ca / "issuing-chain.pem").exists()
    assert main(["issuing-chain", str(signed)]) == 0
    assert "certs takes it over when it next signs" in capsys.readouterr().out
    clock.advance(10)
    assert Authority.open(ca, plan, clock).issue("auth", KEY, Grant(DAY))
    assert main(["issuing-chain"]) == 2
    assert "usage: " in capsys.readouterr().err


async def test_a_rotation_asks_the_offline_root_for_the_next_ca(
    root: OfflineRoot, plan: Plan, clock: ManualClock, tmp_path: Path, engine: AsyncEngine
) -> None:
    ca, following = tmp_path / "ca", OfflineRoot(tmp_path / "next", clock)
    (ca / "issuing-chain.pem").parent.mkdir()
    (ca / "issuing-chain.pem").write_bytes(root.sign(awaited(ca, plan, clock)))
    clock.advance(5)
    generations = Generations(engine, ca, lambda folder: Authority.open(folder, plan, clock), clock)
    await generations.load()
    with pytest.raises(StepRefused, match=r"the next CA is not there: .*sign .*ca-2/issuing\.csr"):
        await generations.take("prepare")
    assert [one.number for one in generations.counting] == [1]
    (ca / "ca-2" / "issuing-chain.pem").write_bytes(following.sign(ca / "ca-2" / "issuing.csr"))
    clock.advance(5)
    assert await generations.take("prepare") == 2
    assert generations.bundle_pem.count(b"BEGIN CERTIFICATE") == 2
    await generations.take("activate")
    assert generations.issue("auth", KEY, Grant(DAY)).issuer != generations.counting[0].authority.issuer.certificate


def test_an_issuing_ca_that_expired_says_so(root: OfflineRoot, plan: Plan, clock: ManualClock, tmp_path: Path) -> None:
    ca = tmp_path / "ca"
    chain = root.sign(awaited(ca, plan, clock), days=1)
    (ca / "issuing-chain.pem").write_bytes(chain)
    clock.advance(5)
    authority = Authority.open(ca, plan, clock)
    clock.advance(2 * 86400)
    with pytest.raises(IssuingAwaited, match=r"the issuing CA has expired: .*sign .*issuing\.csr"):
        authority.issue("auth", KEY, Grant(DAY))
    with pytest.raises(ChainExpired, match=r"Issuing CA.* in .*issuing\.crt expired at "):
        Authority.open(ca, plan, clock)


def test_without_the_root_key_issuing_goes_on_until_the_issuing_ca_ends(
    plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    ca, made = tmp_path / "ca", replace(plan, root="made")
    before = Authority.open(ca, made, clock)
    (ca / "root.key").unlink()
    again = Authority.open(ca, made, clock)
    assert again.certificates == before.certificates
    clock.advance(364.5 * 86400)
    assert again.issue("auth", KEY, Grant(DAY)).not_after == again.certificates[0].not_valid_after_utc
    clock.advance(86400)
    with pytest.raises(IssuingAwaited, match=r"put root\.key back into CA_DIR"):
        again.issue("auth", KEY, Grant(DAY))

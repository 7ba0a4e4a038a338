import stat
from pathlib import Path
from typing import get_args

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock_auth.errors import KeyUnusable
from interlock_auth.signing import (
    Algorithm,
    KeyFolder,
    SigningPair,
    generate,
    read_pair,
    secret_jwk,
    secret_pair,
    thumbprint,
)

ASYMMETRIC = [name for name in get_args(Algorithm) if name != "HS256"]


def test_the_thumbprint_is_that_of_rfc_8037() -> None:
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "ignored"}
    assert thumbprint(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_token_verifies_with_the_published_jwk(algorithm: Algorithm, tmp_path: Path) -> None:
    pair = generate(algorithm)
    folder = KeyFolder(tmp_path / "keys")
    folder.save(pair)
    loaded = folder.load(pair.kid, algorithm)
    token = jwt.encode({"sub": "a"}, loaded.private, algorithm)
    assert jwt.decode(token, jwt.PyJWK(pair.jwk), algorithms=[algorithm])["sub"] == "a"
    assert "d" not in pair.jwk


def test_private_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    pair = generate("EdDSA")
    KeyFolder(tmp_path / "keys").save(pair)
    path = tmp_path / "keys" / f"{pair.kid}.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_key_of_another_kind_than_the_algorithm_is_refused(tmp_path: Path) -> None:
    pair = generate("ES256")
    KeyFolder(tmp_path).save(pair)
    with pytest.raises(KeyUnusable, match="not fit for JWT_ALGORITHM ES384"):
        read_pair(tmp_path / f"{pair.kid}.pem", "ES384")


def test_a_public_key_that_belongs_to_another_is_refused(tmp_path: Path) -> None:
    pair = generate("EdDSA")
    KeyFolder(tmp_path).save(pair)
    public = tmp_path / "public.pem"
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    public.write_bytes(Ed25519PrivateKey.generate().public_key().public_bytes(*form))
    with pytest.raises(KeyUnusable, match="does not belong"):
        read_pair(tmp_path / f"{pair.kid}.pem", "EdDSA", public)


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match=r"JWT_PRIVATE_KEY_PATH .*gone\.pem cannot be read"):
        read_pair(tmp_path / "gone.pem", "EdDSA")


def test_a_short_secret_is_refused_outside_development() -> None:
    with pytest.raises(KeyUnusable, match="at least 32 characters"):
        secret_pair("short", development=False)
    assert secret_pair("short", development=True).algorithm == "HS256"


def test_a_secret_never_shows_unless_asked_for() -> None:
    pair = secret_pair("x" * 32, development=False)
    assert "k" not in pair.jwk
    assert "x" * 8 not in repr(pair)
    assert jwt.PyJWK(secret_jwk(pair)).key_id == pair.kid


def test_a_file_under_the_name_of_another_key_is_refused(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path)
    one: SigningPair = generate("EdDSA")
    folder.save(one)
    (tmp_path / f"{one.kid}.pem").rename(tmp_path / "other.pem")
    with pytest.raises(KeyUnusable, match="another key than its name says"):
        folder.load("other", "EdDSA")

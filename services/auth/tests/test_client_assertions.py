import json
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from interlock_auth.client_assertions import LIFETIME
from interlock_auth.jwks import read_keys
from interlock_auth.oauth_errors import InvalidClient, InvalidClientMetadata
from interlock_auth.testing_oauth import PASSWORD, OAuthWorld, claims
from interlock_common.messages.oauth import IntrospectToken, RevokeGrantedToken, TokenAnswer, TokenRequest

OWN = "https://gateway.example"
KEY = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)


def jwk(private: Any, algorithm: str, **also: Any) -> dict[str, Any]:
    method: Any = get_default_algorithms()[algorithm]
    return method.to_jwk(private.public_key(), as_dict=True) | {"kid": "c1"} | also


JWKS = {"keys": [jwk(KEY, "ES256")]}
SIGNING = {"token_endpoint_auth_method": "private_key_jwt", "jwks": JWKS}


class Assertions:
    def __init__(self, oauth: OAuthWorld, clock: Any) -> None:
        self.oauth, self.clock = oauth, clock
        self.made = 0

    def of(self, *, key: Any = KEY, algorithm: str = "ES256", header: dict[str, Any] | None = None, **also: Any) -> str:
        now = int(self.clock.time())
        self.made += 1
        said: dict[str, Any] = {
            "iss": self.oauth.client_id, "sub": self.oauth.client_id, "aud": OWN, "jti": f"a-{self.made}", "iat": now,
            "exp": now + 60,
        } | also  # fmt: skip
        good = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(good, key, algorithm, {"kid": "c1"} if header is None else header)

    async def exchange(self, assertion: str, **also: Any) -> TokenAnswer:
        code = await self.oauth.code()
        given: dict[str, Any] = {"client_secret": assertion, "auth_method": "private_key_jwt", "own_url": OWN}
        return await self.oauth.server.tokens.exchange(self.oauth.exchange(code, **given | also))


@pytest.fixture
async def signing(oauth: OAuthWorld, clock: Any) -> Assertions:
    registered = await oauth.register(**SIGNING)
    assert registered.client_secret is None
    assert registered.token_endpoint_auth_method == "private_key_jwt"
    return Assertions(oauth, clock)


async def test_a_client_shows_who_it_is_by_its_key(signing: Assertions) -> None:
    assert (await signing.exchange(signing.of())).access_token
    assert (await signing.exchange(signing.of(aud=[f"{OWN}/oauth/token"]), client_id="")).access_token
    assert (await signing.exchange(signing.of(header={}))).access_token  # its only key


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": "https://elsewhere.example"}, {"aud": None}, {"aud": f"{OWN}/mcp"}, {"iss": "another"},
        {"sub": "another"}, {"sub": None}, {"jti": None}, {"jti": ""}, {"jti": "x" * 300}, {"exp": None}, {"exp": 1},
        {"exp": 2**40}, {"iat": None}, {"iat": 2**40}, {"nbf": 2**40},
        {"key": ec.generate_private_key(ec.SECP256R1())}, {"header": {"kid": "unknown"}},
        {"key": "x" * 64, "algorithm": "HS256"},
    ],
)  # fmt: skip
async def test_an_assertion_with_anything_wrong_shows_nothing(signing: Assertions, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidClient):
        await signing.exchange(signing.of(**wrong))


async def test_an_assertion_counts_once_and_is_remembered_as_long_as_it_could_count(signing: Assertions) -> None:
    assertion = signing.of(exp=int(signing.clock.time()) + LIFETIME)
    await signing.exchange(assertion)
    with pytest.raises(InvalidClient, match="used already"):
        await signing.exchange(assertion)
    signing.clock.advance(LIFETIME - 1)
    with pytest.raises(InvalidClient, match="used already"):
        await signing.exchange(assertion)


async def test_unsigned_and_absent_assertions_and_secrets_instead_of_one_show_nothing(signing: Assertions) -> None:
    said = jwt.decode(signing.of(), options={"verify_signature": False})
    nothing: Any = None
    for assertion in (jwt.encode(said, nothing, "none"), "", "x", "x" * 9000):
        with pytest.raises(InvalidClient):
            await signing.exchange(assertion)
    for method, secret in (("none", ""), ("client_secret_post", PASSWORD), ("client_secret_basic", "")):
        with pytest.raises(InvalidClient):
            await signing.exchange(secret, auth_method=method)


async def test_a_client_with_a_secret_or_without_one_does_not_sign(oauth: OAuthWorld, clock: Any) -> None:
    for method in ("none", "client_secret_basic"):
        await oauth.register(token_endpoint_auth_method=method)
        with pytest.raises(InvalidClient):
            await Assertions(oauth, clock).exchange(Assertions(oauth, clock).of())


async def test_it_gives_back_and_asks_about_its_own_tokens_only(signing: Assertions) -> None:
    token = (await signing.exchange(signing.of())).access_token
    oauth = signing.oauth
    inspection = oauth.server.inspection

    def proof() -> Any:
        return {
            "client_id": oauth.client_id, "client_secret": signing.of(), "auth_method": "private_key_jwt",
            "own_url": OWN,
        }  # fmt: skip

    told = await inspection.introspect(IntrospectToken(token, **proof()))
    assert (told.active, told.client_id) == (True, oauth.client_id)
    first = oauth.client
    await oauth.register(**SIGNING)
    assert not (await inspection.introspect(IntrospectToken(token, **proof()))).active
    await inspection.revoke(RevokeGrantedToken(token, **proof()))
    oauth.client = first
    assert (await inspection.introspect(IntrospectToken(token, **proof()))).active
    await inspection.revoke(RevokeGrantedToken(token, **proof()))
    assert not (await inspection.introspect(IntrospectToken(token, **proof()))).active
    with pytest.raises(InvalidClient):
        await inspection.introspect(IntrospectToken(token))


async def test_a_public_client_asks_about_nothing(oauth: OAuthWorld) -> None:
    token = (await oauth.tokens()).access_token
    with pytest.raises(InvalidClient):
        await oauth.server.inspection.introspect(IntrospectToken(token, client_id=oauth.client_id))


@pytest.mark.parametrize(
    "jwks",
    [
        None, {}, {"keys": []}, {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "c1"}]},
        {"keys": [jwk(KEY, "ES256") | {"d": "x"}]}, {"keys": [jwk(KEY, "ES256"), jwk(KEY, "ES256")]},
        {"keys": [jwk(KEY, "ES256", use="enc")]}, {"keys": [jwk(KEY, "ES256", alg="HS256")]},
        {"keys": [jwk(KEY, "ES256", kid="")]}, {"keys": [jwk(RSA, "RS256", n="qwer" * 42)]},
        {"keys": [jwk(KEY, "ES256", x="AA")]}, {"keys": "x"}, {"keys": [{"kty": "EC"}] * 40},
    ],
)  # fmt: skip
async def test_keys_that_are_none_register_nobody(oauth: OAuthWorld, jwks: Any) -> None:
    with pytest.raises(InvalidClientMetadata):
        await oauth.register(token_endpoint_auth_method="private_key_jwt", jwks=jwks)


async def test_keys_at_an_address_are_not_fetched_for_strangers(oauth: OAuthWorld) -> None:
    with pytest.raises(InvalidClientMetadata):
        await oauth.register(token_endpoint_auth_method="private_key_jwt", jwks_uri="https://client.example/jwks")


def test_each_key_has_one_algorithm_and_keeps_only_what_is_public() -> None:
    edwards = ed25519.Ed25519PrivateKey.generate()
    keys = read_keys(json.dumps({"keys": [
        jwk(RSA, "RS256", kid="r", x5c=["MII"]), jwk(RSA, "RS256", kid="p", alg="PS256"),
        jwk(edwards, "EdDSA", kid="e"), jwk(edwards, "EdDSA", kid="f", alg="Ed25519"),
        jwk(KEY, "ES256", kid="c", key_ops=["verify"]),
        jwk(KEY, "ES256", kid="s", key_ops=["sign"]), {"kty": "future", "kid": "x"},
    ]}).encode())  # fmt: skip
    assert {key.kid: key.algorithm for key in keys} == {"r": "RS256", "p": "PS256", "e": "EdDSA", "f": "EdDSA",
                                                        "c": "ES256"}  # fmt: skip
    assert all(msgspec.json.decode(key.jwk).keys() <= {"kty", "n", "e", "crv", "x", "y"} for key in keys)


async def test_assertions_that_are_over_are_forgotten(signing: Assertions) -> None:
    answer = await signing.exchange(signing.of(jti="same"))
    assert claims(answer.access_token)["client_id"] == signing.oauth.client_id
    signing.clock.advance(LIFETIME * 2 + 1)
    with pytest.raises(InvalidClient, match="used already"):  # until housekeeping comes by
        await signing.exchange(signing.of(jti="same"))


async def test_an_unknown_client_is_unknown_however_it_signs(signing: Assertions) -> None:
    with pytest.raises(InvalidClient, match="not known"):
        await signing.oauth.server.tokens.exchange(
            TokenRequest("refresh_token", "", signing.of(sub="nobody", iss="nobody"), "private_key_jwt", OWN)
        )

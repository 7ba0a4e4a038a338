"""Tokens of clients that asked for them to be bound to their certificate (RFC 8705)."""

import json
from typing import Any

import pytest

from interlock_auth.oauth_errors import InvalidClientMetadata, InvalidGrant, InvalidRequest
from interlock_auth.testing_oauth import ADA, REDIRECT, OAuthWorld, claims
from interlock_common.messages.common import Actor
from interlock_common.messages.oauth import Introspection, IntrospectToken, TokenAnswer
from interlock_common.messages.revocation import Revoke, Selector

OWN, NEXT, OTHER = "A" * 43, "B" * 43, "C" * 43
BOUND = {"tls_client_certificate_bound_access_tokens": True}


async def tokens(oauth: OAuthWorld, certificate: str | None = OWN, **also: str) -> TokenAnswer:
    asked = oauth.exchange(await oauth.code(), certificate=certificate, **also)
    return await oauth.server.tokens.exchange(asked)


def bound_to(answer: TokenAnswer) -> object:
    return claims(answer.access_token).get("cnf")


async def introspected(oauth: OAuthWorld, token: str | None) -> Introspection:
    asked = IntrospectToken(token or "", Actor(ADA, permissions=("tokens.read",)))
    return await oauth.server.inspection.introspect(asked)


@pytest.fixture
async def bound(oauth: OAuthWorld) -> OAuthWorld:
    made = await oauth.register(**BOUND)
    assert made.tls_client_certificate_bound_access_tokens
    return oauth


async def test_the_access_token_is_bound_to_what_was_shown(bound: OAuthWorld) -> None:
    answer = await tokens(bound)
    assert bound_to(answer) == {"x5t#S256": OWN}
    for token in (answer.access_token, answer.refresh_token):
        told = await introspected(bound, token)
        assert told.active
        assert told.cnf is not None
        assert told.cnf.thumbprint == OWN


async def test_a_client_that_did_not_ask_gets_tokens_as_before(oauth: OAuthWorld) -> None:
    answer = await tokens(oauth)
    assert bound_to(answer) is None
    assert (await introspected(oauth, answer.access_token)).cnf is None
    assert bound_to(await oauth.refresh(answer.refresh_token)) is None


async def test_without_a_certificate_there_is_no_token_and_the_code_still_counts(bound: OAuthWorld) -> None:
    code = await bound.code()
    with pytest.raises(InvalidRequest):
        await bound.server.tokens.exchange(bound.exchange(code))
    assert bound_to(await bound.server.tokens.exchange(bound.exchange(code, certificate=OWN)))


async def test_a_stolen_refresh_token_opens_nothing_and_ends_nothing(bound: OAuthWorld) -> None:
    answer = await tokens(bound)
    with pytest.raises(InvalidGrant):
        await bound.refresh(answer.refresh_token, certificate=OTHER)
    with pytest.raises(InvalidGrant):
        await bound.refresh(answer.refresh_token, certificate=OTHER, succeeds=(NEXT,))
    with pytest.raises(InvalidRequest):
        await bound.refresh(answer.refresh_token)
    assert bound_to(await bound.refresh(answer.refresh_token, certificate=OWN)) == {"x5t#S256": OWN}


async def test_the_successor_takes_the_place_of_the_certificate(bound: OAuthWorld) -> None:
    renewed = await bound.refresh((await tokens(bound)).refresh_token, certificate=NEXT, succeeds=(OTHER, OWN))
    assert bound_to(renewed) == {"x5t#S256": NEXT}
    with pytest.raises(InvalidGrant):
        await bound.refresh(renewed.refresh_token, certificate=OWN)
    assert bound_to(await bound.refresh(renewed.refresh_token, certificate=NEXT)) == {"x5t#S256": NEXT}


async def test_a_revoked_certificate_ends_the_refresh_token(bound: OAuthWorld, world: Any) -> None:
    answer = await tokens(bound)
    world.clock.advance(5)
    await world.selectors.revoke(Revoke(await world.administrator(), Selector("certificate", OWN)))
    with pytest.raises(InvalidGrant):
        await bound.refresh(answer.refresh_token, certificate=OWN)


async def test_a_client_with_a_secret_may_refresh_with_any_certificate_of_its_own(oauth: OAuthWorld) -> None:
    made = await oauth.register(token_endpoint_auth_method="client_secret_post", **BOUND)
    proof = {"client_secret": made.client_secret or "", "auth_method": "client_secret_post"}
    answer = await tokens(oauth, **proof)
    assert bound_to(await oauth.refresh(answer.refresh_token, certificate=OTHER, **proof)) == {"x5t#S256": OTHER}


async def test_a_client_of_a_metadata_document_is_bound_by_what_that_says(oauth: OAuthWorld) -> None:
    url = "https://client.example/metadata.json"
    said = {"client_id": url, "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none", **BOUND}
    code = await oauth.code(client_id=url, document=json.dumps(said))
    with pytest.raises(InvalidRequest):
        await oauth.server.tokens.exchange(oauth.exchange(code, client_id=url))
    given = await oauth.server.tokens.exchange(oauth.exchange(code, client_id=url, certificate=OWN))
    assert bound_to(given) == {"x5t#S256": OWN}


async def test_whether_tokens_are_bound_is_true_or_false(oauth: OAuthWorld) -> None:
    with pytest.raises(InvalidClientMetadata):
        await oauth.register(tls_client_certificate_bound_access_tokens="yes")

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from interlock_auth.errors import ProviderLoginRefused
from interlock_auth.federation import Federation, FederationRules
from interlock_auth.fetching import GuardedFetcher
from interlock_auth.issuer_settings import IssuerRules
from interlock_auth.provider_login import LIFETIME
from interlock_auth.testing_oauth import ADA, OAuthWorld
from interlock_auth.testing_provider import CLIENT, SECRET, SUBJECT, Provider, provider
from interlock_common.addresses import AddressPolicy
from interlock_common.messages.common import Actor, Page
from interlock_common.messages.identities import ByName
from interlock_common.messages.issuers import (
    FinishProviderLogin,
    IssuerSettings,
    LinkIdentity,
    LoginSettings,
    ProviderSession,
    SetIssuer,
    StartProviderLogin,
)
from interlock_common.sealing import Sealer

BROWSER = "b" * 43
QUERY = "client_id=desk&state=s"
CALLBACK = "https://gateway.example/oauth/callback"
LOGIN = LoginSettings(CLIENT, SECRET, provision=True, domains=("example.com",))


@dataclass
class Here:
    """Auth, a provider, and a browser between them."""

    world: Any
    oauth: OAuthWorld
    federation: Federation
    there: Provider
    root: Actor

    async def trust(self, **changes: Any) -> None:
        said = IssuerSettings("corp", self.there.issuer, login=LOGIN)
        await self.federation.issuers.set(SetIssuer(self.root, msgspec.structs.replace(said, **changes)))

    async def link(self, principal: str = ADA) -> None:
        await self.federation.links.link(LinkIdentity(self.root, "corp", SUBJECT, principal))

    async def start(self) -> str:
        asked = StartProviderLogin("corp", BROWSER, QUERY, CALLBACK)
        return (await self.federation.logins.start(asked)).location

    async def finish(self, back: dict[str, str], browser: str = BROWSER) -> ProviderSession:
        said = {"state": back["state"], "code": back.get("code", ""), "issuer": back.get("iss", "")}
        return await self.federation.logins.finish(
            FinishProviderLogin(browser=browser, error=back.get("error", ""), **said)
        )

    async def login(self) -> ProviderSession:
        return await self.finish(self.there.visit(await self.start()))


@pytest.fixture
async def here(world: Any, oauth: OAuthWorld) -> AsyncGenerator[Here]:
    async with provider(clock=world.clock) as there:
        fetcher = GuardedFetcher(AddressPolicy(allow_private=True), seconds=0.3)
        federation = Federation(
            world.engine, fetcher, world.principals.directory, oauth.server.sessions, world.outlet, Sealer(b"secret"),
            FederationRules(IssuerRules("mcpgateway", "mcpgateway-api", loopback=True)), world.clock,
        )  # fmt: skip
        made = Here(world, oauth, federation, there, await world.administrator())
        await made.trust()
        yield made


async def test_a_linked_person_logs_in_with_the_provider(here: Here) -> None:
    await here.link()
    location = await here.start()
    for said in ("response_type=code", "code_challenge_method=S256", "nonce=", "scope=openid+email", "state="):
        assert said in location
    session = await here.finish(here.there.visit(location))
    assert (session.principal, session.query) == (ADA, QUERY)
    principal = await here.oauth.server.sessions.principal(session.session)
    assert principal is not None
    assert principal.name == ADA
    assert ("session.started", ADA, ADA) in here.world.outlet.actions


async def test_a_login_counts_once_in_the_browser_that_began_it_and_for_a_while(here: Here) -> None:
    await here.link()
    back = here.there.visit(await here.start())
    with pytest.raises(ProviderLoginRefused, match="another browser"):
        await here.finish(back, browser="c" * 43)
    with pytest.raises(ProviderLoginRefused, match="used already"):
        await here.finish(back)
    back = here.there.visit(await here.start())
    await here.finish(back)
    with pytest.raises(ProviderLoginRefused, match="used already"):
        await here.finish(back)
    back = here.there.visit(await here.start())
    here.world.clock.advance(LIFETIME)
    with pytest.raises(ProviderLoginRefused, match="is over"):
        await here.finish(back)
    with pytest.raises(ProviderLoginRefused, match="is over"):
        await here.finish({"state": "guess", "code": "x"})


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"nonce": "another"}, "another login"), ({"nonce": None}, "another login"),
        ({"aud": "another-client"}, "another client"), ({"aud": [CLIENT, "b"]}, "does not say for which"),
        ({"aud": [CLIENT, "b"], "azp": "b"}, "another client"), ({"iss": "https://other.example"}, "another issuer"),
        ({"exp": 1}, "expired"), ({"exp": None}, "expired"), ({"iat": 2**40}, "does not count yet"),
        ({"sub": None}, "nobody"), ({"sub": ""}, "nobody"), ({"sub": "x" * 256}, "nobody"), ({"sub": "a\nb"}, "nobody"),
    ],
)  # fmt: skip
async def test_an_id_token_that_is_not_the_one_that_was_asked_for_logs_nobody_in(
    here: Here, claims: dict[str, Any], said: str
) -> None:
    await here.link()
    here.there.claims = claims
    with pytest.raises(ProviderLoginRefused, match=said):
        await here.login()


async def test_only_the_providers_own_keys_sign_id_tokens_and_a_new_one_is_found(here: Here) -> None:
    await here.link()
    published = here.there.keys
    here.there.rotate()
    own = here.there.keys
    here.there.keys = published
    here.world.clock.advance(60)
    await here.login()
    here.there.keys = own
    here.world.clock.advance(60)
    assert (await here.login()).principal == ADA
    here.there.keys = published
    await here.federation.issuers.refresh(ByName(here.root, "corp"))
    here.there.keys = own
    with pytest.raises(ProviderLoginRefused, match="not signed"):
        await here.login()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"iss": "https://other.example"}, "another provider"), ({"iss": ""}, "another provider"),
        ({"error": "access_denied"}, "did not log you in"), ({"code": "guess"}, "no ID token"),
        ({"code": ""}, "did not log you in"), ({"code": "x" * 5000}, "too long"),
    ],
)  # fmt: skip
async def test_what_a_provider_did_not_answer_is_no_login(here: Here, changes: dict[str, str], said: str) -> None:
    await here.link()
    with pytest.raises(ProviderLoginRefused, match=said):
        await here.finish(here.there.visit(await here.start()) | changes)


async def test_nobody_is_known_by_an_email_verified_or_not(here: Here) -> None:
    for verified in (True, False, "true"):
        here.there.claims = {"email": ADA, "email_verified": verified}
        with pytest.raises(ProviderLoginRefused, match=f"nobody here is linked .* the subject {SUBJECT} of corp"):
            await here.login()


async def test_an_account_is_made_only_where_that_is_on_for_a_verified_email_of_a_named_domain(here: Here) -> None:
    for claims in (
        {}, {"email": "new@example.com"}, {"email": "new@example.com", "email_verified": "true"},
        {"email": "new@evil.example", "email_verified": True}, {"email": "a@b@example.com", "email_verified": True},
    ):  # fmt: skip
        here.there.claims = claims
        with pytest.raises(ProviderLoginRefused, match="nobody here is linked"):
            await here.login()
    good = {"email": "New@example.com", "email_verified": True}
    await here.trust(login=msgspec.structs.replace(LOGIN, provision=False))
    here.there.claims = good
    with pytest.raises(ProviderLoginRefused, match="nobody here is linked"):
        await here.login()
    await here.trust()
    assert (await here.login()).principal == "new@example.com"
    assert (await here.login()).principal == "new@example.com"  # by its subject, from now on
    made = here.world.outlet.buckets["principals"][b"new@example.com".hex()]
    assert (made.is_admin, made.permissions, made.teams) == (False, (), ())
    assert ("user.provisioned", "corp", "new@example.com") in here.world.outlet.actions


async def test_administrators_and_those_who_are_not_active_do_not_log_in_with_it(here: Here) -> None:
    await here.link(here.root.principal)
    with pytest.raises(ProviderLoginRefused, match="administrators"):
        await here.login()
    await here.trust(administrators=True)
    assert (await here.login()).principal == here.root.principal


async def test_whoever_is_not_active_is_nobody(here: Here) -> None:
    await here.link()
    await here.oauth.deactivate()
    with pytest.raises(ProviderLoginRefused, match="nobody"):
        await here.login()


async def test_an_issuer_without_a_login_and_one_that_is_not_there_begin_none(here: Here) -> None:
    await here.trust(login=None, audiences=("x",))
    with pytest.raises(ProviderLoginRefused):
        await here.start()
    with pytest.raises(ProviderLoginRefused):
        await here.federation.logins.start(StartProviderLogin("nobody", BROWSER, QUERY, CALLBACK))


async def test_logins_that_were_never_finished_are_forgotten(here: Here) -> None:
    await here.start()
    here.world.clock.advance(LIFETIME)
    await here.federation.tidy()
    assert (await here.federation.issuers.list(Page(here.root))).issuers
    await here.start()

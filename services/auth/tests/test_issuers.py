from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from interlock_auth.errors import (
    IssuerFromFile,
    IssuerNotFound,
    IssuerRefused,
    NotContained,
    NotPermitted,
    SecretsNotKept,
)
from interlock_auth.federation import Federation, FederationRules
from interlock_auth.fetching import GuardedFetcher
from interlock_auth.issuer_file import read_issuers
from interlock_auth.issuer_keys import AGAIN, INTERVAL
from interlock_auth.issuer_settings import IssuerRules
from interlock_auth.issuer_store import IssuerStore
from interlock_auth.roles import Roles
from interlock_auth.testing_oauth import ADA
from interlock_auth.testing_provider import CLIENT, SECRET, SUBJECT, Provider, provider
from interlock_common.addresses import AddressPolicy
from interlock_common.database import transaction
from interlock_common.errors import ConfigurationError, Conflict
from interlock_common.messages.common import Actor, Page
from interlock_common.messages.identities import ByName, SetRole
from interlock_common.messages.issuers import (
    ClaimMapping,
    IdentityPage,
    IssuerSettings,
    KeyWanted,
    LinkIdentity,
    LoginSettings,
    SetIssuer,
    TrustedIssuer,
    UnlinkIdentity,
    identity_key,
    issuer_key,
)
from interlock_common.sealing import Sealer

API = "https://gateway.example/mcp"
RULES = IssuerRules("mcpgateway", "mcpgateway-api", loopback=True)


@dataclass
class Here:
    """Auth with one provider, and its administrator."""

    world: Any
    federation: Federation
    there: Provider
    root: Actor

    def settings(self, **changes: Any) -> IssuerSettings:
        return msgspec.structs.replace(IssuerSettings("corp", self.there.issuer, (API,)), **changes)

    async def set(self, **changes: Any) -> Any:
        return await self.federation.issuers.set(SetIssuer(self.root, self.settings(**changes)))

    @property
    def published(self) -> TrustedIssuer:
        return self.world.outlet.buckets["issuers"][issuer_key(self.there.issuer)]

    @property
    def kids(self) -> list[str]:
        return [key.kid for key in self.published.keys]


@pytest.fixture
async def here(world: Any) -> AsyncGenerator[Here]:
    async with provider(clock=world.clock) as there:
        fetcher = GuardedFetcher(AddressPolicy(allow_private=True), seconds=0.3)
        sessions: Any = None
        federation = Federation(
            world.engine, fetcher, world.principals.directory, sessions, world.outlet, Sealer(b"secret of auth"),
            FederationRules(RULES), world.clock,
        )  # fmt: skip
        yield Here(world, federation, there, await world.administrator())


async def test_an_issuer_is_published_with_its_keys_as_soon_as_it_is_named(here: Here) -> None:
    shown = await here.set()
    assert shown.error == ""
    assert shown.keys == (here.there.kids[0],)
    told = here.published
    assert (told.name, told.issuer, told.audiences, told.administrators) == ("corp", here.there.issuer, (API,), False)
    assert told.keys_until == int(here.world.clock.time()) + 3600
    (key,) = told.keys
    assert key.algorithm == "RS256"
    assert msgspec.json.decode(key.jwk).keys() == {"kty", "n", "e"}
    assert (await here.federation.issuers.list(Page(here.root))).issuers == (shown,)


async def test_only_an_unlimited_administrator_says_whose_word_counts(here: Here) -> None:
    ada = await here.world.add(ADA, "admin.system_config")
    for actor in (ada, Actor("nobody@example.com")):
        with pytest.raises((NotPermitted, NotContained)):
            await here.federation.issuers.set(SetIssuer(actor, here.settings()))
    await here.set()
    for call in (here.federation.issuers.delete, here.federation.issuers.refresh):
        with pytest.raises(NotPermitted):
            await call(ByName(ada, "corp"))
    with pytest.raises(NotPermitted):
        await here.federation.links.link(LinkIdentity(ada, "corp", SUBJECT, ADA))


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Corp"}, {"name": ""}, {"issuer": "http://idp.example"}, {"issuer": "https://a@idp.example"},
        {"issuer": "https://idp.example?x=1"}, {"issuer": "mcpgateway"}, {"issuer": "https://idp.example:x"},
        {"jwks_uri": "ftp://idp.example"}, {"audiences": ("",)}, {"audiences": ()}, {"algorithms": ("HS256",)},
        {"algorithms": ("none",)}, {"algorithms": ()}, {"max_lifetime": 10**9}, {"key_grace": 1},
        {"claims": ClaimMapping(teams_claim="groups", teams={"a": "b"})},
        {"accounts": "mapped", "claims": ClaimMapping(roles={"a": "viewer"})},
        {"accounts": "mapped", "claims": ClaimMapping(roles_claim="r", roles={"boss": "platform_admin"})},
        {"login": LoginSettings(API)}, {"login": LoginSettings("c", scopes=("email",))},
        {"login": LoginSettings("c", provision=True)}, {"login": LoginSettings("")},
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused_by_the_name_of_its_field(here: Here, wrong: dict[str, Any]) -> None:
    with pytest.raises(IssuerRefused) as refused:
        await here.set(**wrong)
    field = next(name for name in reversed(wrong)).replace("accounts", "claims")
    assert refused.value.fields["field"].split(".")[0] == field
    assert "issuers" not in here.world.outlet.buckets


async def test_a_new_key_of_the_provider_is_found_when_an_edge_wants_it_and_not_for_every_guess(here: Here) -> None:
    await here.set()
    here.there.rotate()
    fresh = here.there.kids[-1]
    clock, wanted = here.world.clock, here.federation.keys.wanted
    assert not (await wanted(KeyWanted("corp", fresh))).read  # they were read a moment ago
    clock.advance(AGAIN)
    asked = len(here.there.asked)
    assert not (await wanted(KeyWanted("corp", here.there.kids[0]))).read
    assert (await wanted(KeyWanted("corp", fresh))).read
    assert here.kids == here.there.kids
    assert not (await wanted(KeyWanted("corp", "guess"))).read
    assert len(here.there.asked) == asked + 2
    assert not (await wanted(KeyWanted("nobody", "guess"))).read


async def test_keys_are_read_anew_by_themselves_and_a_withdrawn_one_is_gone(here: Here) -> None:
    await here.set()
    here.there.rotate(keep=False)
    await here.federation.tidy()
    assert here.kids != [here.there.kids[0]]
    here.world.clock.advance(INTERVAL)
    await here.federation.tidy()
    assert here.kids == [here.there.kids[0]]
    assert here.published.keys_until == int(here.world.clock.time()) + 3600


@pytest.mark.parametrize("trouble", ["away", "stuck", "huge"])
async def test_keys_of_a_provider_in_trouble_count_for_their_grace_and_are_asked_for_again(
    here: Here, trouble: str
) -> None:
    await here.set()
    until, kids = here.published.keys_until, here.kids
    setattr(here.there, trouble, True)
    here.world.clock.advance(INTERVAL)
    await here.federation.tidy()
    assert (here.published.keys_until, here.kids) == (until, kids)
    shown = await here.federation.issuers.get(ByName(here.root, "corp"))
    assert shown.error
    setattr(here.there, trouble, False)
    here.world.clock.advance(AGAIN)
    await here.federation.tidy()
    assert here.published.keys_until > until
    assert (await here.federation.issuers.get(ByName(here.root, "corp"))).error == ""


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"issuer": "https://other.example"}, "another issuer"), ({"jwks_uri": "http://169.254.169.254/keys"}, "https"),
        ({"jwks_uri": "https://169.254.169.254/keys"}, "not a public address"), ({"jwks_uri": "file:///etc"}, "https"),
        ({"jwks_uri": None}, "https"),
    ],
)  # fmt: skip
async def test_metadata_that_lead_astray_give_no_keys(here: Here, metadata: dict[str, Any], said: str) -> None:
    here.there.metadata = metadata
    shown = await here.set()
    assert shown.keys == ()
    assert said in shown.error
    assert here.published.keys_until == 0


async def test_private_addresses_are_not_asked_unless_that_is_allowed(here: Here) -> None:
    keys: Any = here.federation.keys
    keys._providers._fetcher = GuardedFetcher(AddressPolicy())
    shown = await here.set()
    assert shown.keys == ()
    assert here.there.asked == []


async def test_other_algorithms_forget_the_keys_that_were_read(here: Here) -> None:
    await here.set()
    shown = await here.set(algorithms=("ES256",))
    assert shown.keys == ()
    assert here.published.keys == ()


async def test_roles_come_to_what_they_open_now(here: Here) -> None:
    world: Any = here.world
    roles = Roles(world.engine, world.principals.directory, world.outlet, world.clock)
    await roles.create(SetRole(here.root, "caller", ("tools.execute", "tools.read")))
    mapping = ClaimMapping(roles_claim="roles", roles={"dev": "caller", "boss": "platform_admin", "gone": "no-such"})
    await here.set(accounts="mapped", administrators=True, claims=mapping)
    assert here.published.permissions == {"dev": ("tools.read", "tools.execute"), "gone": ()}
    assert here.published.admin_values == ("boss",)
    roles.changed = here.federation.keys.publish_changed
    await roles.update(SetRole(here.root, "caller", ("tools.read",)))
    assert here.published.permissions["dev"] == ("tools.read",)


async def test_the_client_secret_is_sealed_never_shown_and_kept_for_the_same_client(here: Here) -> None:
    shown = await here.set(login=LoginSettings(CLIENT, SECRET))
    assert SECRET not in repr(shown)
    assert SECRET not in repr(here.world.outlet.buckets)
    assert SECRET not in repr(here.world.outlet.actions)
    offer = here.published.login
    assert offer is not None
    assert (offer.title, offer.origin) == ("corp", here.there.issuer)
    await here.set(login=LoginSettings(CLIENT, title="Corp"))
    row = await _row(here)
    assert SECRET not in (row.settings + str(row.sealed_secret))
    assert here.federation.issuers.secret(row) == SECRET
    await here.set(login=LoginSettings("another"))
    assert here.federation.issuers.secret(await _row(here)) == ""


async def test_without_a_secret_of_its_own_auth_keeps_none(here: Here) -> None:
    issuers: Any = here.federation.issuers
    issuers._sealer = None
    with pytest.raises(SecretsNotKept, match="AUTH_ENCRYPTION_SECRET"):
        await here.set(login=LoginSettings(CLIENT, SECRET))


async def test_links_are_by_subject_published_and_taken_back(here: Here) -> None:
    await here.world.add(ADA)
    await here.world.add("eve@example.com")
    await here.set()
    links, there = here.federation.links, here.there.issuer
    made = await links.link(LinkIdentity(here.root, "corp", SUBJECT, ADA))
    assert await links.link(LinkIdentity(here.root, "corp", SUBJECT, ADA)) == made
    with pytest.raises(Conflict, match="unlink"):
        await links.link(LinkIdentity(here.root, "corp", SUBJECT, "eve@example.com"))
    bucket = here.world.outlet.buckets["identities"]
    assert bucket[identity_key(there, SUBJECT)].principal == ADA
    assert (await links.list(IdentityPage(here.root, "corp"))).identities == (made,)
    await links.unlink(UnlinkIdentity(here.root, "corp", SUBJECT))
    assert bucket == {}
    for wrong in ("", "x" * 256, "a\nb"):
        with pytest.raises(IssuerRefused):
            await links.link(LinkIdentity(here.root, "corp", wrong, ADA))
    with pytest.raises(IssuerNotFound):
        await links.unlink(UnlinkIdentity(here.root, "corp", SUBJECT))


async def test_with_an_issuer_go_all_who_are_linked(here: Here) -> None:
    await here.world.add(ADA)
    await here.set()
    await here.federation.links.link(LinkIdentity(here.root, "corp", SUBJECT, ADA))
    await here.federation.issuers.delete(ByName(here.root, "corp"))
    assert (here.world.outlet.buckets["issuers"], here.world.outlet.buckets["identities"]) == ({}, {})
    with pytest.raises(IssuerNotFound):
        await here.federation.issuers.get(ByName(here.root, "corp"))
    await here.set()
    assert (await here.federation.links.list(IdentityPage(here.root, "corp"))).identities == ()


async def test_a_name_never_becomes_another_issuer(here: Here) -> None:
    await here.set()
    with pytest.raises(IssuerRefused, match="stays"):
        await here.set(issuer="https://elsewhere.example")
    with pytest.raises(IssuerRefused, match="another name"):
        await here.set(name="other")


async def test_the_file_says_what_there_is_and_what_it_names_changes_there_only(here: Here, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    path = tmp_path / "issuers.yaml"
    path.write_text(f"""
issuers:
  - name: corp
    issuer: {here.there.issuer}
    audiences: [{API}]
    login: {{client_id: {CLIENT}, client_secret_file: {tmp_path}/secret}}
""")
    described = read_issuers(path, RULES)
    await here.federation.issuers.apply(described)
    await here.federation.read_keys()
    assert here.kids == [here.there.kids[0]]
    assert here.federation.issuers.secret(await _row(here)) == SECRET
    actions = len(here.world.outlet.actions)
    await here.federation.issuers.apply(described)
    assert len(here.world.outlet.actions) == actions
    with pytest.raises(IssuerFromFile):
        await here.set()
    with pytest.raises(IssuerFromFile):
        await here.federation.issuers.delete(ByName(here.root, "corp"))
    await here.federation.issuers.apply(())
    assert here.world.outlet.buckets["issuers"] == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("issuers: {", "no YAML"), ("[]", "a list called issuers"), ("issuers: [1]", "issuer 1"),
        ("issuers: [{name: a, issuer: 'https://i.example', audience: [x]}]", "issuer 1"),
        ("issuers: [{name: a, issuer: 'http://i.example', audiences: [x]}]", "https"),
        ("issuers: [{name: a, issuer: 'https://i.test', login: {client_id: c, client_secret_file: /gone}}]", "/gone"),
        ("issuers: [&a {name: a, issuer: 'https://i.test', audiences: [x]}, *a]", "twice"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_ends_the_start(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "issuers.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        read_issuers(path, RULES)


async def test_assertions_that_were_used_are_forgotten_once_they_could_not_count_again(here: Here) -> None:
    now = int(here.world.clock.time())
    async with transaction(here.world.engine) as session:
        store = IssuerStore(session)
        assert await store.use_assertion(b"a" * 32, now + 60)
        assert not await store.use_assertion(b"a" * 32, now + 60)
        assert await store.use_assertion(b"b" * 32, now + 600)
    here.world.clock.advance(61)
    await here.federation.tidy()
    async with transaction(here.world.engine) as session:
        assert await IssuerStore(session).count_assertions() == 1


async def _row(here: Here) -> Any:
    async with transaction(here.world.engine) as session:
        return await IssuerStore(session).issuer("corp")

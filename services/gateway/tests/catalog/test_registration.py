"""What may be registered, registered anew, and which secrets are kept how."""

from typing import Any

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.errors import InvalidInput, NotFound, PermissionDenied, UpstreamFailed
from interlock_common.messages.catalog import (
    Command,
    CreateUpstream,
    Credential,
    Limits,
    RestCall,
    Secrets,
    Tls,
    UpdateUpstream,
    Upstream,
    upstream_key,
)
from interlock_common.messages.common import ById, Page
from interlock_common.sealing import Sealer
from interlock_gateway.catalog.errors import InvalidRegistration, NameTaken, NotAllowed, SecretsNotKept
from interlock_gateway.catalog.registering import NOT_LOOKED_AT
from interlock_gateway.catalog.testing import ADMIN, MAKER, STRANGER, Parts, tool, wire
from interlock_gateway.upstreams.discovery.discovery import Discovered
from interlock_gateway.upstreams.discovery.exchange import UpstreamUnusable

URL = "https://notes.example.com/mcp"
HEADER = Credential("header", {"name": "X-Key"})
REST = {"find": RestCall("GET", "/notes/{id}")}
FIND = msgspec.Raw(b'{"name":"find","inputSchema":{"properties":{"id":{}}}}')


def registration(**changes: Any) -> CreateUpstream:
    given: dict[str, Any] = {"actor": ADMIN, "name": "Notes", "url": URL}
    return CreateUpstream(**(given | changes))


def stdio(**changes: Any) -> CreateUpstream:
    return registration(**({"url": "", "transport": "stdio", "command": Command(("notes", "--serve"))} | changes))


def published(parts: Parts, upstream: Upstream) -> Upstream:
    item = parts.outlet.bucket[upstream_key(upstream.id)]
    assert isinstance(item, Upstream)
    return item


def opened(upstream: Upstream, purpose: str, sealed: str) -> dict[str, str]:
    return msgspec.json.decode(Sealer(b"a secret of tests").open(purpose, sealed, upstream.id.encode()))


@pytest.mark.parametrize(
    "changes",
    [
        {"transport": "stdio"},
        {"transport": "stdio", "url": ""},
        {"transport": "stdio", "url": "", "command": Command(())},
        {"transport": "stdio", "url": "", "command": Command(("a\0b",))},
        {"transport": "stdio", "url": "", "command": Command(("a",), directory="here")},
        {"transport": "stdio", "url": "", "command": Command(("a",), environment={"A=B": "x"})},
        {"transport": "stdio", "url": "", "command": Command(("a",), memory=1)},
        {"transport": "stdio", "url": "", "command": Command(("a",), cpu=float("nan"))},
        {"command": Command(("a",))},
        {"transport": "worker"},
        {"transport": "worker", "url": "worker://"},
        {"transport": "worker", "url": "worker://*"},
        {"transport": "worker", "url": "worker://a.>"},
        {"transport": "reverse"},
        {"transport": "rest"},
        {"transport": "rest", "rest": REST},
        {"transport": "rest", "rest": REST, "definitions": (msgspec.Raw(b'{"name":"other","inputSchema":{}}'),)},
        {"transport": "rest", "rest": REST, "definitions": (msgspec.Raw(b'{"name":"find"}'),)},
        {"transport": "rest", "rest": {"find": RestCall("GET", "/{other}")}, "definitions": (FIND,)},
        {"rest": REST},
        {"definitions": (FIND,)},
        {"limits": Limits(concurrency=0)},
        {"limits": Limits(call_timeout=float("nan"))},
        {"tls": Tls(ca_bundle="ca.pem")},
        {"tls": Tls(keyfile="/key.pem")},
        {"transport": "worker", "url": "worker://a", "tls": Tls(verify=False)},
        {"transport": "worker", "url": "worker://a", "credential": HEADER, "secrets": Secrets({"value": "x"})},
        {"credential": HEADER},
        {"credential": HEADER, "secrets": Secrets({"password": "x"})},
        {"credential": HEADER, "secrets": Secrets({"value": "a\r\nb"})},
        {"credential": Credential("header", {"name": "Mcp-Session-Id"}), "secrets": Secrets({"value": "x"})},
        {"credential": Credential("header", {"name": "a b"}), "secrets": Secrets({"value": "x"})},
        {"credential": Credential("basic", {"user": "a:b"}), "secrets": Secrets({"password": "x"})},
        {"credential": Credential("basic"), "secrets": Secrets({"password": "x"})},
        {"credential": Credential("client_credentials", {"client_id": "a", "token_endpoint": "file:///x"})},
        {"secrets": Secrets({"value": "x"})},
        {"secrets": Secrets(environment={"A": "x"})},
    ],
)
async def test_what_does_not_belong_together_is_refused_before_anything_is_called(
    parts: Parts, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        await parts.upstreams.create(registration(**changes))
    assert parts.world.asked == []
    assert parts.outlet.bucket == {}


@pytest.mark.parametrize(
    "changes",
    [{"transport": "stdio", "url": "", "command": Command(("sh",))}, {"tls": Tls(certfile="/identity/key.pem")}],
)
async def test_what_reaches_the_machine_itself_is_for_operators_of_the_system(
    parts: Parts, changes: dict[str, Any]
) -> None:
    with pytest.raises(NotAllowed, match=r"admin\.system_config"):
        await parts.upstreams.create(registration(actor=MAKER, **changes))
    await parts.upstreams.create(registration(**changes))


async def test_secrets_are_kept_sealed_and_shown_to_nobody(parts: Parts) -> None:
    made = await parts.upstreams.create(
        registration(
            credential=Credential("header", {"name": "X-Key"}, "forged"), secrets=Secrets({"value": "hunter2"})
        )
    )
    kept = published(parts, made)
    assert opened(kept, "credential", kept.credential.sealed) == {"value": "hunter2"}
    shown = [
        made,
        await parts.upstreams.get(ById(ADMIN, made.id)),
        await parts.upstreams.refresh(ById(ADMIN, made.id)),
        *(await parts.upstreams.list(Page(ADMIN))).upstreams,
    ]
    assert {(each.credential.kind, each.credential.sealed) for each in shown} == {("header", "")}
    assert "hunter2" not in repr((shown, kept, parts.outlet.actions))
    assert kept.credential.sealed not in repr((shown, parts.outlet.actions))


async def test_without_its_setting_no_secret_is_taken(engine: AsyncEngine) -> None:
    parts = wire(engine, secret=None)
    with pytest.raises(SecretsNotKept, match="AUTH_ENCRYPTION_SECRET"):
        await parts.upstreams.create(registration(credential=HEADER, secrets=Secrets({"value": "x"})))
    await parts.upstreams.create(registration())


async def test_secrets_that_are_not_given_stay_unless_the_kind_changes(parts: Parts) -> None:
    made = await parts.upstreams.create(registration(credential=HEADER, secrets=Secrets({"value": "one"})))

    async def update(**changes: Any) -> Upstream:
        await parts.upstreams.update(UpdateUpstream(made.id, registration(**changes)))
        return published(parts, made)

    kept = await update(credential=Credential("header", {"name": "X-Other"}))
    assert opened(kept, "credential", kept.credential.sealed) == {"value": "one"}
    kept = await update(credential=HEADER, secrets=Secrets({"value": "two"}))
    assert opened(kept, "credential", kept.credential.sealed) == {"value": "two"}
    with pytest.raises(InvalidRegistration, match="password"):
        await update(credential=Credential("basic", {"user": "me"}))
    assert (await update()).credential == Credential()


async def test_secret_variables_are_kept_one_by_one(parts: Parts) -> None:
    made = await parts.upstreams.create(stdio(secrets=Secrets(environment={"A": "1", "B": "2"})))
    for given, expected in (({"B": "3"}, {"A": "1", "B": "3"}), ({"A": ""}, {"B": "3"}), ({}, {"B": "3"})):
        await parts.upstreams.update(UpdateUpstream(made.id, stdio(secrets=Secrets(environment=given))))
        command = published(parts, made).command
        assert command is not None
        assert opened(made, "environment", command.sealed_environment) == expected
    assert made.command is not None
    assert made.command.sealed_environment == ""


async def test_an_update_is_in_full_and_keeps_id_and_owner(parts: Parts) -> None:
    made = await parts.upstreams.create(registration(actor=MAKER, description="old", limits=Limits(concurrency=3)))
    wanted = registration(name="Letters", url="https://letters.example.com/mcp", visibility="private")
    after = await parts.upstreams.update(UpdateUpstream(made.id, wanted))
    assert (after.id, after.owner, after.name, after.slug) == (made.id, MAKER.principal, "Letters", "letters")
    assert (after.description, after.limits, after.visibility) == ("", Limits(), "private")
    assert published(parts, made) == after
    assert parts.outlet.events[-1].change == "updated"
    assert parts.outlet.actions[-1][:3] == ("upstream.updated", ADMIN.principal, made.id)


async def test_only_its_owner_or_an_administrator_registers_anew(parts: Parts) -> None:
    made = await parts.upstreams.create(registration(actor=MAKER))
    with pytest.raises(PermissionDenied):
        await parts.upstreams.update(UpdateUpstream(made.id, registration(actor=STRANGER)))
    with pytest.raises(NotFound):
        await parts.upstreams.update(UpdateUpstream("nothing", registration()))
    await parts.upstreams.create(registration(name="Other", url="https://other.example.com"))
    with pytest.raises(NameTaken):
        await parts.upstreams.update(UpdateUpstream(made.id, registration(name="other")))


async def test_an_update_that_leads_nowhere_is_refused_and_changes_nothing(parts: Parts) -> None:
    made = await parts.upstreams.create(registration())
    parts.world.found["https://nowhere.example.com"] = UpstreamUnusable("nothing listens there", "refused")
    with pytest.raises(UpstreamFailed):
        await parts.upstreams.update(UpdateUpstream(made.id, registration(url="https://nowhere.example.com")))
    assert published(parts, made) == made
    parts.world.found[URL] = UpstreamUnusable("it is away", "refused")
    away = await parts.upstreams.update(UpdateUpstream(made.id, registration(description="new words")))
    assert (away.description, away.reachable, len(away.tools)) == ("new words", False, 2)


async def test_another_address_is_looked_at_for_the_first_time(parts: Parts) -> None:
    made = await parts.upstreams.create(registration())
    other = (tool("one", b'{"name":"one","inputSchema":{"a":1}}', "sha256:9"),)
    parts.world.found[URL] = parts.world.found["https://b.example.com"] = Discovered("legacy", "2025-11-25", other)
    same = await parts.upstreams.update(UpdateUpstream(made.id, registration()))
    assert [each.standing for each in same.tools] == ["quarantined"]
    moved = await parts.upstreams.update(UpdateUpstream(made.id, registration(url="https://b.example.com")))
    assert [each.standing for each in moved.tools] == ["accepted"]
    assert moved.era == "legacy"


async def test_a_rest_upstream_is_what_its_registration_says(parts: Parts) -> None:
    made = await parts.upstreams.create(registration(transport="rest", rest=REST, definitions=(FIND,)))
    assert (made.reachable, made.era, [each.name for each in made.tools]) == (True, "modern", ["find"])
    assert bytes(made.tools[0].definition) == bytes(FIND)
    assert (await parts.upstreams.refresh(ById(ADMIN, made.id))) == made
    changed = msgspec.Raw(b'{"name":"find","inputSchema":{"properties":{"id":{},"q":{}}}}')
    after = await parts.upstreams.update(
        UpdateUpstream(made.id, registration(transport="rest", rest=REST, definitions=(changed,)))
    )
    assert [each.standing for each in after.tools] == ["accepted"]
    assert parts.world.asked == []


async def test_a_command_is_shown_before_it_is_asked_and_taken_away_if_it_cannot_run(parts: Parts) -> None:
    made = await parts.upstreams.create(stdio())
    assert (made.reachable, len(made.tools), made.url) == (True, 2, "")
    assert [each.change for each in parts.outlet.events] == ["created", "refreshed"]
    refused = UpstreamUnusable("no such command", "protocol")
    refused.__class__ = type("Final", (UpstreamUnusable,), {"retryable": False})
    parts.world.found["Broken"] = refused
    with pytest.raises(UpstreamFailed, match="no such command"):
        await parts.upstreams.create(stdio(name="Broken"))
    assert list(parts.outlet.bucket) == [upstream_key(made.id)]


async def test_a_command_that_is_slow_to_start_stays_and_is_looked_at_again(parts: Parts) -> None:
    parts.world.found["Notes"] = UpstreamUnusable("nobody answers for it", "timeout")
    made = await parts.upstreams.create(stdio())
    assert (made.reachable, made.problem) == (False, "nobody answers for it")
    parts.world.found.clear()
    assert (await parts.upstreams.refresh(ById(ADMIN, made.id))).reachable


async def test_who_dials_in_again_is_registered_anew_and_looked_at_when_asked(parts: Parts) -> None:
    dialling = registration(actor=MAKER, url="", transport="reverse", name="Lab")
    made = await parts.upstreams.create(dialling)
    assert (made.reachable, made.problem, parts.world.asked) == (False, NOT_LOOKED_AT, [])
    seen = await parts.upstreams.refresh(ById(MAKER, made.id))
    assert [each.standing for each in seen.tools] == ["accepted", "accepted"]
    parts.world.found["Lab"] = Discovered("modern", "2026-07-28", (tool("one", b'{"name":"one","x":1}', "sha256:3"),))
    again = await parts.upstreams.create(dialling)
    assert again.id == made.id
    assert again.reachable
    looked = await parts.upstreams.refresh(ById(MAKER, made.id))
    assert [each.standing for each in looked.tools] == ["quarantined"]
    with pytest.raises(NameTaken):
        await parts.upstreams.create(msgspec.structs.replace(dialling, actor=STRANGER))


async def test_an_upstream_that_waits_for_consent_is_registered_all_the_same(parts: Parts) -> None:
    parts.world.found[URL] = UpstreamUnusable("it wants a credential: HTTP 401", "status", status=401)
    made = await parts.upstreams.create(registration(credential=Credential("oauth")))
    assert (made.reachable, made.problem) == (False, "it wants a credential: HTTP 401")
    parts.world.found.clear()
    seen = await parts.upstreams.refresh(ById(ADMIN, made.id))
    assert [each.standing for each in seen.tools] == ["accepted", "accepted"]

import json
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest

from interlock_common.errors import ConfigurationError
from interlock_common.testing.clock import ManualClock
from interlock_gateway.rest.app import create_rest_app
from interlock_gateway.rest.testing import TOKEN, FakeWorld
from interlock_gateway.rest.well_known_files import WellKnownFiles, security_txt

CONTACT = "mailto:security@example.com"


def asking(world: FakeWorld, files: WellKnownFiles | None = None) -> httpx2.AsyncClient:
    """A client without a credential."""
    transport = httpx2.ASGITransport(create_rest_app(world.dependencies(), files), raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://gateway.test")


def files_of(**changes: Any) -> WellKnownFiles:
    said: dict[str, Any] = {"enabled": True, "contact": "", "custom": ""}
    return WellKnownFiles.of(**said | changes)


async def test_crawlers_are_asked_to_stay_away(world: FakeWorld) -> None:
    async with asking(world, files_of()) as client:
        answer = await client.get("/robots.txt")
    assert (answer.status_code, answer.text) == (200, "User-agent: *\nDisallow: /\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_security_txt_names_the_contact_and_expires_in_the_future_whenever_it_is_asked_for() -> None:
    clock = ManualClock()
    async with asking(FakeWorld(), files_of(contact=CONTACT)) as client:
        answer = await client.get("/.well-known/security.txt")
        fields = dict(line.split(": ", 1) for line in answer.text.splitlines())
        assert fields["Contact"] == CONTACT
        assert fields["Canonical"] == "http://gateway.test/.well-known/security.txt"
    for _ in range(3):
        clock.advance(400 * 86400)
        text = security_txt(CONTACT, "http://x", clock.now())
        expires = datetime.fromisoformat(text.split("Expires: ")[1].split("\n")[0])
        assert timedelta(days=179) < expires - clock.now() < timedelta(days=365)


async def test_without_a_contact_there_is_no_security_txt_and_all_files_can_be_off(world: FakeWorld) -> None:
    async with asking(world, files_of()) as client:
        assert (await client.get("/.well-known/security.txt")).status_code == 404
    async with asking(world, files_of(enabled=False, contact=CONTACT)) as client:
        found = [(await client.get(path)).status_code for path in ("/robots.txt", "/.well-known/security.txt")]
        assert found == [404, 404]
        assert (await client.get("/.well-known/jwks.json")).status_code == 200


async def test_an_operators_files_are_served_as_text_or_json(world: FakeWorld) -> None:
    custom = json.dumps({"ai.txt": "no <b>training</b>", "assetlinks.json": "[]"})
    async with asking(world, files_of(custom=custom)) as client:
        text, assets = [await client.get(f"/.well-known/{name}") for name in ("ai.txt", "assetlinks.json")]
    assert (text.text, text.headers["content-type"]) == ("no <b>training</b>", "text/plain; charset=utf-8")
    assert (assets.json(), assets.headers["content-type"]) == ([], "application/json")


@pytest.mark.parametrize(
    "custom",
    [
        "[]", "{", '{"a": 1}', '{"../etc": "x"}', '{"a/b": "x"}', '{"jwks.json": "{}"}', '{"security.txt": "x"}',
        '{"oauth-authorization-server": "{}"}', '{"openid-configuration": "{}"}', '{"{x}": "y"}', '{".a": "x"}',
        json.dumps({"big.txt": "x" * 65537}), json.dumps({f"f{n}.txt": "" for n in range(21)}),
    ],
)  # fmt: skip
def test_files_that_cannot_be_name_the_setting(custom: str) -> None:
    with pytest.raises(ConfigurationError, match="WELL_KNOWN_CUSTOM_FILES"):
        files_of(custom=custom)


@pytest.mark.parametrize("contact", ["security@example.com", "http://example.com", "mailto:a@b\nExpires: 1999", "x"])
def test_a_contact_that_is_none_names_the_setting(contact: str) -> None:
    with pytest.raises(ConfigurationError, match="SECURITY_CONTACT"):
        files_of(contact=contact)


async def test_the_list_of_routes_is_for_those_with_a_token_and_loads_nothing(world: FakeWorld) -> None:
    async with asking(world) as client:
        for path in ("/docs", "/redoc", "/openapi.json"):
            assert (await client.get(path)).status_code == 401
            assert (await client.get(path, headers={"authorization": TOKEN})).status_code == 200
        page = (await client.get("/docs", headers={"authorization": TOKEN})).text
    assert "<code>POST /gateways</code>" in page
    assert "<script" not in page
    assert "http" not in page

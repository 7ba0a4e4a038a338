"""The ground on which all attacks take place."""

from collections.abc import Generator

import httpx
import pytest

from stories.attack_table import Expected, expected_of
from stories.attackers import OWN_SERVER, PASSWORD, SECRET_SERVER, Ground, Person, forger_of
from stories.deployment import wait_for
from stories.stage import Stage, set_up

SETTINGS = {
    "ALLOW_PRIVATE_UPSTREAMS": "false",
    "ALLOW_UPSTREAM_NETWORKS": "127.0.0.1/32",
    "VALIDATE_TOKEN_ENVIRONMENT": "true",
    "MAX_FAILED_LOGIN_ATTEMPTS": "3",
    "RATE_LIMIT_LOGIN": "100/200",
    "RATE_LIMIT_CERTIFICATE": "100/400",
    "ALLOW_PRIVATE_ISSUERS": "true",
    "LIST_PAGE_SIZE": "2",
}
"""As in production, as far as attacks tell the difference; the notes server is at 127.0.0.1."""


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, containers: bool) -> Generator[Stage]:
    with set_up(tmp_path_factory.mktemp("attacked"), containers=containers, extra=SETTINGS) as ready:
        yield ready


@pytest.fixture(scope="session")
def prepared(stage: Stage) -> Ground:
    with stage.deployment.rest(stage.token) as rest:
        team = rest.post("/teams", json={"name": "Red"}).raise_for_status().json()["id"]
        people = {name: f"{name}@attacks.example" for name in ("alice", "bob", "carol")}
        for name, email in people.items():
            rest.post("/users", json={"name": email, "password": PASSWORD}).raise_for_status()
            if name != "carol":
                rest.post(f"/users/{email}/roles", json={"role": "developer"}).raise_for_status()
        rest.put(f"/teams/{team}/members/{people['alice']}", json={"owner": False}).raise_for_status()
        secret = {"name": "secret", "url": stage.notes.url, "visibility": "team", "team_id": team}
        gateway = rest.post("/gateways", json=secret).raise_for_status().json()["id"]
        body = {"name": "Red", "id": SECRET_SERVER, "visibility": "team", "team_id": team}
        rest.post("/servers", json=body | {"associated_upstreams": [gateway]}).raise_for_status()
        alice, bob, carol = (Person(email, logged_in(stage, email)) for email in people.values())
        ground = Ground(stage, forger_of(stage), alice, bob, carol, team, gateway)
        with ground.as_(alice.token) as hers:
            hers.post("/servers", json={"name": "Own", "id": OWN_SERVER, "visibility": "private"}).raise_for_status()
            for server in (SECRET_SERVER, OWN_SERVER):
                wait_for(lambda server=server: hers.get(f"/servers/{server}").is_success, server, 10)
        return ground


@pytest.fixture
def ground(prepared: Ground) -> Ground:
    return prepared


@pytest.fixture
def expected(request: pytest.FixtureRequest) -> Generator[Expected]:
    """What the attack is to be answered with, which each attack looks at."""
    said = expected_of(request.node)
    yield said
    assert said.met


@pytest.fixture(scope="module", autouse=True)
def refusals(prepared: Ground) -> Generator[None]:
    """Whatever was refused in a module is in the record at its end."""
    prepared.expected.clear()
    yield
    prepared.check_recorded()


def logged_in(stage: Stage, email: str) -> str:
    with stage.deployment.rest() as client:
        answer: httpx.Response = client.post("/auth/login", json={"email": email, "password": PASSWORD})
        return answer.raise_for_status().json()["access_token"]

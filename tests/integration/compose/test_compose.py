"""The deployed form, from nothing: build, start, call a tool, scale, stop, start again.

One stack serves all stories here; they run from top to bottom.
"""

import json

import pytest

from stories.compose import Stack, call_tool, log_in, rest

DATABASES = {"auth", "certs", "audit", "catalog"}
LONG_RUNNING = {"postgres", "nats", "certs", "auth", "audit", "catalog", "connector", "plugins", "gateway", "front"}
ENDING = {"secrets", "migrate"}

pytestmark = pytest.mark.docker


async def test_compose_serves_a_tool_call(stack: Stack, upstream: str) -> None:
    token = await log_in(stack)
    notes = await rest(stack, "/gateways", {"name": "notes", "url": upstream}, token)
    await rest(stack, "/servers", {"id": "notebook", "name": "notebook", "associated_upstreams": [notes["id"]]}, token)

    written = await call_tool(stack.url, token, "add_note", {"text": "deployed"})

    assert json.loads(written) == {"number": 1, "text": "deployed"}


async def test_each_of_three_gateways_serves_the_call(stack: Stack) -> None:
    stack.up("--no-recreate", "--scale", "gateway=3")
    token = await log_in(stack)
    replicas = {name: one for name, one in stack.containers().items() if name.startswith("gateway-")}
    assert len(replicas) == 3

    for number, replica in enumerate(replicas.values(), start=2):
        address = replica["NetworkSettings"]["Networks"][f"{stack.project}_edge"]["IPAddress"]
        written = await call_tool(f"http://{address}:4444", token, "add_note", {"text": "scaled"})
        assert json.loads(written)["number"] == number

    for _ in range(6):  # more calls than replicas, through the one address
        assert "deployed" in await call_tool(stack.url, token, "search_notes", {"query": "deployed"})


def test_containers_run_without_root_or_rights_on_a_read_only_system(stack: Stack) -> None:
    containers = stack.containers()
    assert {name.rpartition("-")[0] for name in containers} == {*LONG_RUNNING, *ENDING}
    for name, container in containers.items():
        host = container["HostConfig"]
        assert container["Config"]["User"].partition(":")[0] not in {"", "0", "root"}, name
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert not host["CapAdd"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Memory"] > 0, name
        assert host["PidsLimit"] > 0, name
        assert all(mount["Type"] == "volume" for mount in container["Mounts"]), name


def test_only_the_front_is_published_and_only_on_this_machine(stack: Stack) -> None:
    published: list[tuple[str, str]] = []
    for name, container in stack.containers().items():
        ports: dict[str, list[dict[str, str]] | None] = container["NetworkSettings"]["Ports"]
        published += [(name, binding["HostIp"]) for bindings in ports.values() for binding in bindings or []]
    assert published == [("front-1", "127.0.0.1")]


def test_a_service_sees_no_secret_but_its_own(stack: Stack) -> None:
    look = "ls /run/secrets 2>/dev/null; true"
    seen = {service: set(stack.compose("exec", "-T", service, "sh", "-c", look).split()) for service in LONG_RUNNING}
    assert seen == {
        "postgres": {"superuser_password", *(f"{service}_password" for service in DATABASES)},
        "auth": {"administrator_password", "database_url", "encryption_secret"},
        "certs": {"ca_key_passphrase", "database_url"},
        "audit": {"database_url"},
        "catalog": {"auth_encryption_secret", "database_url"},
        "connector": {"auth_encryption_secret"},
        "gateway": {"audit_digest_key", "auth_encryption_secret"},
        "nats": set(),
        "plugins": set(),
        "front": set(),
    }


def test_secrets_are_in_no_environment_and_in_no_log(stack: Stack) -> None:
    password = stack.password()
    database = stack.compose("exec", "-T", "auth", "cat", "/run/secrets/database_url")
    told = json.dumps(stack.containers()) + stack.compose("logs", "--no-color")
    assert password not in told
    assert database.partition("//auth:")[2].partition("@")[0] not in told


def test_keys_and_join_tokens_of_services_are_on_no_disk(stack: Stack) -> None:
    for service in ("auth", "gateway", "catalog", "connector", "plugins", "audit"):
        kinds = stack.compose("exec", "-T", service, "stat", "--file-system", "--format=%T", "/identity", "/join")
        assert kinds.split() == ["tmpfs", "tmpfs"], service


def test_images_carry_no_build_tools(stack: Stack) -> None:
    for service in ("auth", "gateway", "catalog", "connector", "plugins", "certs", "audit"):
        found = stack.compose("exec", "-T", service, "sh", "-c", "command -v uv pip pip3 cc gcc make git; true")
        assert found == "", service


async def test_what_was_set_up_outlives_the_containers(stack: Stack) -> None:
    """Down and up again: the authority, the keys, the catalog and the audit log are still the same."""
    token = await log_in(stack)
    stack.compose("down", "--timeout", "10")
    stack.up()

    assert "deployed" in await call_tool(stack.url, token, "search_notes", {"query": "deployed"})

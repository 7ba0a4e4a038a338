import subprocess
from pathlib import Path

import pytest

from interlock_cli.bus_config import render_bus_config
from interlock_cli.environment import Placement, child_environment
from interlock_cli.state import State
from interlock_common.nats_server import nats_server_binary
from interlock_common.testing.pki import ScratchAuthority

PORTS = {"bus": 4222, "enrolment": 8444, "auth": 1, "certs": 2, "catalog": 3, "audit": 4, "gateway": 5, "gateway-2": 6}


@pytest.fixture
def placement(tmp_path: Path) -> Placement:
    state = State(tmp_path / 'a "quoted" folder')
    state.prepare()
    return Placement(state, PORTS, "127.0.0.1", 4444)


def test_an_edge_gets_no_database(placement: Placement) -> None:
    assert "DATABASE_URL" not in child_environment(placement, "gateway", "gateway")


@pytest.mark.parametrize("service", ["auth", "certs", "catalog", "audit"])
def test_each_owner_gets_a_database_of_its_own(placement: Placement, service: str) -> None:
    url = child_environment(placement, service, service)["DATABASE_URL"]
    assert url == f"sqlite:///{placement.state.root}/{service}.db"


def test_two_edges_share_the_drop_and_the_port_and_nothing_else(placement: Placement) -> None:
    first, second = (child_environment(placement, "gateway", name) for name in ("gateway", "gateway-2"))
    assert first["JOIN_DIR"] == second["JOIN_DIR"]
    assert first["PORT"] == second["PORT"]
    assert first["IDENTITY_DIR"] != second["IDENTITY_DIR"]
    assert first["HEALTH_PORT"] != second["HEALTH_PORT"]


def test_settings_of_the_caller_reach_the_services(placement: Placement, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_ALGORITHM", "ES256")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    environment = child_environment(placement, "auth", "auth")
    assert environment["JWT_ALGORITHM"] == "ES256"
    assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:4318"


def test_where_a_process_keeps_things_is_not_the_callers_to_say(
    placement: Placement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere")
    monkeypatch.setenv("BUS_URL", "tls://elsewhere:4222")
    environment = child_environment(placement, "auth", "auth")
    assert environment["DATABASE_URL"].startswith("sqlite:///")
    assert environment["BUS_URL"] == "tls://127.0.0.1:4222"


def test_the_secrets_go_by_file(placement: Placement) -> None:
    password = placement.state.admin_password.read_text()
    assert password not in child_environment(placement, "auth", "auth").values()


def test_an_address_for_all_interfaces_is_reached_on_this_machine(placement: Placement) -> None:
    assert Placement(placement.state, PORTS, "0.0.0.0", 4444).url == "http://127.0.0.1:4444"
    assert Placement(placement.state, PORTS, "::", 4444).url == "http://[::1]:4444"


def test_the_bus_takes_its_configuration(placement: Placement) -> None:
    state = placement.state
    authority = ScratchAuthority()
    key, chain = authority.issue(dns=["localhost"])
    for name, content in {"key": key, "cert": chain, "bundle": authority.bundle_pem}.items():
        (state.bus / f"{name}.pem").write_bytes(content)
    (state.bus / "pins.conf").write_text('pinned_certs: [\n  "' + "0" * 64 + '"\n]\n')
    state.nats_config.write_text(render_bus_config(placement))
    checked = subprocess.run(
        [nats_server_binary(), "-t", "-c", state.nats_config], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_with_tls_the_edges_share_a_certificate_and_clients_know_where_it_is(
    placement: Placement, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert placement.ca is None
    assert child_environment(placement, "gateway", "gateway")["SSL"] == "false"
    monkeypatch.setenv("AUTO_CERT_SANS", "a.test")
    monkeypatch.delenv("CERT_FILE", raising=False)
    over_tls = Placement(placement.state, PORTS, "127.0.0.1", 4444, tls=True, sans=("b.test",))
    assert over_tls.url == "https://127.0.0.1:4444"
    first, second = (child_environment(over_tls, "gateway", name) for name in ("gateway", "gateway-2"))
    assert first["SSL"] == "true"
    assert first["AUTO_CERT_SANS"] == "b.test,a.test"
    assert first["AUTO_CERT_DIR"] == second["AUTO_CERT_DIR"] == str(placement.state.front)
    assert over_tls.ca == placement.state.front / "cert.pem"
    monkeypatch.setenv("CERT_FILE", "/etc/tls/cert.pem")
    assert over_tls.ca == Path("/etc/tls/cert.pem")

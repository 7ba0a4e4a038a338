import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from interlock_cli import ports
from interlock_cli.errors import PortTaken
from interlock_cli.state import State
from interlock_common.ports import choose_free


@pytest.fixture
def taken() -> Generator[int]:
    """A port on which somebody listens who would share it, as edges do."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((ports.HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path / "state")
    state.prepare()
    return state


def test_a_taken_port_is_refused_with_what_to_do(taken: int) -> None:
    with pytest.raises(PortTaken, match=f"port {taken} .* name another with --port") as refusal:
        ports.demand(taken)
    assert refusal.value.exit_code == 3


def test_an_address_that_is_not_ours_is_refused_as_such() -> None:
    (port,) = choose_free(1)
    with pytest.raises(PortTaken, match=r"nothing can listen on 192\.0\.2\.1"):
        ports.demand(port, "192.0.2.1")


def test_free_ports_are_all_different() -> None:
    assert len(set(choose_free(50))) == 50


def test_ports_are_kept_from_start_to_start(state: State) -> None:
    names = ["bus", "auth"]
    assert ports.reserve(state, names) == ports.reserve(state, names)


def test_a_kept_port_that_is_taken_meanwhile_is_replaced(state: State, taken: int) -> None:
    state.ports_file.write_text(f'{{"bus": {taken}, "auth": "rubbish"}}')
    chosen = ports.reserve(state, ["bus", "auth"])
    assert chosen["bus"] != taken
    assert ports.reserve(state, ["bus", "auth"]) == chosen

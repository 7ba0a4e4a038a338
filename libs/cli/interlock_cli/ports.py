"""The ports of an embedded stack: chosen free at the first start, kept for the next ones."""

import socket
from collections.abc import Iterable
from contextlib import suppress

from interlock_cli.errors import PortTaken, StateUnusable
from interlock_cli.state import State, read_json, write_json

HOST = "127.0.0.1"


def is_free(port: int, host: str = HOST) -> bool:
    """Whether nobody listens on ``port``; also sees those who would share it (SO_REUSEPORT)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def demand(port: int, host: str = HOST) -> None:
    """Raise PortTaken, saying what to do, unless ``port`` is free."""
    if not is_free(port, host):
        raise PortTaken(f"port {port} on {host} is taken: stop what listens there, or name another with --port")


def choose_free(count: int) -> list[int]:
    """Ports that are free at this moment; held all at once, so that no two are the same."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def reserve(state: State, names: Iterable[str]) -> dict[str, int]:
    """A port for each name: the one of last time where it is still free, else a new one."""
    kept: dict[str, int] = {}
    with suppress(StateUnusable):  # a lost file costs nothing but new numbers
        kept = {name: port for name, port in read_json(state.ports_file).items() if isinstance(port, int)}
    chosen: dict[str, int] = {}
    for name in names:
        port = kept.get(name)
        if port is None or port in chosen.values() or not is_free(port):
            port = choose_free(1)[0]
        chosen[name] = port
    write_json(state.ports_file, chosen)
    return chosen

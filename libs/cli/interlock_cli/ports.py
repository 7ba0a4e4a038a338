"""The ports of an embedded stack: chosen free at the first start, kept for the next ones."""

import errno
import socket
from collections.abc import Iterable
from contextlib import suppress

from interlock_cli.errors import PortTaken, StateUnusable
from interlock_cli.state import State, read_json, write_json
from interlock_common.ports import choose_free

HOST = "127.0.0.1"


def problem(port: int, host: str = HOST) -> OSError | None:
    """Why nobody new can listen on ``port``; also sees those who would share it (SO_REUSEPORT)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def is_free(port: int) -> bool:
    return problem(port) is None


def demand(port: int, host: str = HOST) -> None:
    """Raise PortTaken, saying what to do, unless ``port`` can be used."""
    error = problem(port, host)
    if error is None:
        return
    if error.errno == errno.EADDRINUSE:
        raise PortTaken(f"port {port} on {host} is taken: stop what listens there, or name another with --port")
    raise PortTaken(f"nothing can listen on {host} with port {port}: {error.strerror}")


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

"""The way to a port: its name, its addresses, TCP, and what it says to plain HTTP."""

import errno
import socket
import threading
from dataclasses import dataclass, field

from interlock_cli.diagnosis.causes import Cause, Finding
from interlock_cli.diagnosis.target import Target

_MOST_BYTES = 512
_TLS_ALERT = 0x15
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})
_HTTPS_WANTED = (b"https", b"tls", b"ssl")

type Address = tuple[str, int]


class Unreached(Exception):
    """There is no connection; ``finding`` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.seen)
        self.finding = finding


def addresses_of(target: Target, seconds: float) -> list[Address]:
    """The addresses of the host in the order in which they are tried; raises Unreached."""
    asked = _Asked(target)
    thread = threading.Thread(target=asked.run, daemon=True)  # a resolver has its own idea of time
    thread.start()
    thread.join(seconds)
    if asked.error is not None:
        raise Unreached(Finding(Cause.DNS, f"{target.host} has no address: {asked.error.strerror}"))
    if not asked.found:
        raise Unreached(Finding(Cause.DNS, f"no resolver answered within {seconds:g} s for {target.host}"))
    return asked.found


@dataclass
class _Asked:
    target: Target
    found: list[Address] = field(default_factory=list[Address])
    error: socket.gaierror | None = None

    def run(self) -> None:
        try:
            answers = socket.getaddrinfo(self.target.host, self.target.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            self.error = error
        else:
            self.found = list(dict.fromkeys((str(answer[4][0]), self.target.port) for answer in answers))


def connect(addresses: list[Address], seconds: float) -> tuple[socket.socket, Address]:
    """A connection to the first address that takes one; raises Unreached with what the last one did."""
    last = Finding(Cause.UNREACHABLE, "there is no address")
    for address in addresses:
        try:
            return socket.create_connection(address, seconds), address
        except OSError as error:
            last = _finding(error, address, seconds)
    raise Unreached(last)


def plain_answer(address: Address, host: str, seconds: float) -> bytes:
    """What the port says, by itself or to a request in plain HTTP; empty if nothing."""
    try:
        with socket.create_connection(address, seconds) as connection:
            connection.settimeout(seconds)
            connection.sendall(f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("idna"))
            return connection.recv(_MOST_BYTES)
    except OSError:
        return b""


def is_http(answer: bytes) -> bool:
    return answer.startswith(b"HTTP/")


def wants_tls(answer: bytes) -> bool:
    """Whether this is how a TLS port answers plain HTTP: with an alert, or with an error page that says so."""
    if answer[:1] == bytes([_TLS_ALERT]):
        return True
    return answer.startswith(b"HTTP/1.1 400") and any(word in answer.lower() for word in _HTTPS_WANTED)


def _finding(error: OSError, address: Address, seconds: float) -> Finding:
    place = f"{address[0]} port {address[1]}"
    if isinstance(error, TimeoutError):
        return Finding(Cause.TIMEOUT, f"{place} did not answer within {seconds:g} s")
    if isinstance(error, ConnectionRefusedError):
        return Finding(Cause.REFUSED, f"{place} refused the connection")
    cause = Cause.UNREACHABLE if error.errno in _UNREACHABLE else Cause.REFUSED
    return Finding(cause, f"{place} cannot be reached: {error.strerror}")

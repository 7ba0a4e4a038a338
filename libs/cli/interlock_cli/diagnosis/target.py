"""What is to be diagnosed: ``HOST:PORT``, or the address of a server."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from interlock_cli.errors import CommandError

_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}
_PLAIN = frozenset({"http", "ws"})


class TargetUnusable(CommandError):
    """What was typed names no host and port."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Target:
    """``plain`` when it was given as an address that begins with ``http://``."""

    host: str
    port: int
    plain: bool = False

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Of ``HOST:PORT``, ``[IPv6]:PORT`` or an address; raises TargetUnusable."""
        parts = urlsplit(text if "://" in text else f"tls://{text}")
        try:
            port = parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            port = None
        if not parts.hostname or not port:
            raise TargetUnusable(f"{text!r} is not HOST:PORT: localhost:4444, [::1]:4444, https://mcp.example.com")
        return cls(parts.hostname, port, parts.scheme in _PLAIN)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

"""From where a request comes."""

from collections.abc import Mapping
from typing import Any


def client_address(scope: Mapping[str, Any]) -> str | None:
    """The address of the client of an ASGI request, without its port; None where it is not known."""
    client = scope.get("client")
    return client[0] if client else None

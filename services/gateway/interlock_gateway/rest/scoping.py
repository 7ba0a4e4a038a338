"""Where a credential that is limited to one virtual server may go."""

from interlock_gateway.errors import ScopeMissing

DOCUMENTATION = frozenset({"/openapi.json", "/docs", "/redoc"})
"""Exempt from the limit, and open to nobody without a credential."""


def check_server_scope(server_id: str | None, path: str) -> None:
    """Raise ScopeMissing for a path that is neither below the one server nor documentation.

    What asks for no credential at all (health, readiness, well-known documents) does not come here.
    """
    if server_id is None or path in DOCUMENTATION:
        return
    own = f"/servers/{server_id}"
    if path != own and not path.startswith(f"{own}/"):
        raise ScopeMissing("the token is limited to another server")

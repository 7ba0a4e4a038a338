"""Which gateway or virtual server a person means: by id, name or slug; things as ``<gateway>/<name>``."""

from typing import Any

from interlock_cli.client import Client, NotThere, RuleBroken

type Thing = dict[str, Any]


def gateways(client: Client) -> list[Thing]:
    return client.pages("/gateways", dict[str, Any], limit=200)


def servers(client: Client) -> list[Thing]:
    return client.pages("/servers", dict[str, Any], limit=200)


def gateway_named(client: Client, name: str) -> Thing:
    """Raises NotThere."""
    return _one(gateways(client), name, "gateway")


def server_named(client: Client, name: str) -> Thing:
    """Raises NotThere."""
    return _one(servers(client), name, "virtual server")


def teams(client: Client) -> list[Thing]:
    return client.pages("/teams", dict[str, Any], limit=200)


def team_named(client: Client, name: str) -> Thing:
    """Raises NotThere."""
    return _one(teams(client), name, "team")


def _one(found: list[Thing], name: str, kind: str) -> Thing:
    for key in ("id", "name", "slug"):
        for each in found:
            if each.get(key) == name:
                return each
    raise NotThere(f"there is no {kind} {name}")


class References:
    """``<gateway>/<original name>`` as the API refers to things; the gateway may be told by id, name or slug."""

    def __init__(self, client: Client) -> None:
        self._ids: dict[str, str] = {}
        for each in gateways(client):
            for key in ("slug", "name", "id"):
                self._ids[str(each[key])] = str(each["id"])

    def gateway(self, name: str) -> str:
        """Raises RuleBroken."""
        if name not in self._ids:
            raise RuleBroken(f"there is no gateway {name}")
        return self._ids[name]

    def of(self, reference: str) -> str:
        """A name of a gateway may have a slash in it, so the longest that exists counts; raises RuleBroken."""
        end = len(reference)
        while (end := reference.rfind("/", 0, end)) > 0:
            if reference[:end] in self._ids:
                return f"{self._ids[reference[:end]]}/{reference[end + 1 :]}"
        raise RuleBroken(f"{reference} does not begin with a gateway and a slash")

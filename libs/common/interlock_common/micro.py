"""The NATS services protocol (ADR-32): ``$SRV.PING``, ``INFO`` and ``STATS``, so that ``nats micro ls`` sees us.

The client library's own service class subscribes the endpoints itself; ours are subscribed by FastStream, so
only the three verbs are answered here, with the figures that the endpoints keep.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from interlock_common.endpoints import Endpoint

_TYPE = "io.nats.micro.v1.{}_response"


@dataclass(frozen=True)
class Presence:
    """As whom a process is on the bus, and what it answers there; the same over all its links."""

    service: str
    instance: str
    version: str
    description: str
    url: str
    started_at: datetime
    endpoints: list[Endpoint[Any]] = field(default_factory=list[Endpoint[Any]])


class Microservice:
    """Answers the three verbs for one connection of one instance."""

    def __init__(self, presence: Presence) -> None:
        self._presence = presence
        self._identity: dict[str, Any] = {
            "name": presence.service,
            "id": presence.instance,
            "version": presence.version,
            "metadata": {},
        }

    async def start(self, connection: Client) -> None:
        verbs = {"PING": self._ping, "INFO": self._info, "STATS": self._stats}
        name, instance = self._identity["name"], self._identity["id"]
        for verb, answer in verbs.items():
            for subject in (f"$SRV.{verb}", f"$SRV.{verb}.{name}", f"$SRV.{verb}.{name}.{instance}"):

                async def reply(message: Msg, answer: Any = answer) -> None:
                    await message.respond(msgspec.json.encode(answer()))

                await connection.subscribe(subject, cb=reply)  # pyright: ignore[reportUnknownMemberType] - its future is untyped

    def _ping(self) -> dict[str, Any]:
        return {"type": _TYPE.format("ping"), **self._identity}

    def _info(self) -> dict[str, Any]:
        endpoints: list[dict[str, Any]] = [
            {
                "name": _endpoint_name(e.subject),
                "subject": e.subject,
                "queue_group": self._identity["name"],
                "metadata": {},
            }
            for e in self._presence.endpoints
        ]
        return {
            "type": _TYPE.format("info"),
            **self._identity,
            "description": self._presence.description,
            "endpoints": endpoints,
        }

    def _stats(self) -> dict[str, Any]:
        return {
            "type": _TYPE.format("stats"),
            **self._identity,
            "started": self._presence.started_at.isoformat().replace("+00:00", "Z"),
            "endpoints": [self._endpoint_stats(endpoint) for endpoint in self._presence.endpoints],
        }

    def _endpoint_stats(self, endpoint: Endpoint[Any]) -> dict[str, Any]:
        stats = endpoint.stats
        return {
            "name": _endpoint_name(endpoint.subject),
            "subject": endpoint.subject,
            "queue_group": self._identity["name"],
            "num_requests": stats.num_requests,
            "num_errors": stats.num_errors,
            "last_error": stats.last_error,
            "processing_time": stats.processing_time,
            "average_processing_time": stats.processing_time // max(1, stats.num_requests),
        }


def _endpoint_name(subject: str) -> str:
    """``svc.auth.token.create`` is the endpoint ``token-create``; wildcards have no place in a name."""
    return "-".join(part for part in subject.split(".")[2:] if part not in {"*", ">"})

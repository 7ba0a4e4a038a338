"""``/reverse-proxy/sessions``: the servers that dialled in, at all edges."""

from datetime import UTC, datetime

import msgspec
from fastapi import APIRouter, Response

from interlock_common.messages.gateway import Tunnel
from interlock_gateway.rest.answers import Status, answer
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says

router = APIRouter(prefix="/reverse-proxy", tags=["reverse-proxy"])


class ReverseSession(msgspec.Struct, frozen=True):
    """A server that dialled in; ``session_id`` is made by the gateway, ``gateway_id`` is the upstream it serves."""

    session_id: str
    gateway_id: str
    name: str
    owner: str
    peer: str
    connected_at: str


@router.get("/sessions", responses=says(ReverseSession, many=True), summary="List the servers that dialled in")
async def sessions(actor: CurrentActor, deps: Deps) -> Response:
    return answer([_shown(tunnel) for tunnel in deps.tunnels.listed(actor)])


@router.delete("/sessions/{session_id}", responses=says(Status), summary="End the tunnel of a server that dialled in")
async def close(session_id: str, actor: CurrentActor, deps: Deps) -> Response:
    await deps.tunnels.close(actor, session_id)
    return answer(Status("closed"))


def _shown(tunnel: Tunnel) -> ReverseSession:
    at = datetime.fromtimestamp(tunnel.connected_at, UTC).isoformat().replace("+00:00", "Z")
    return ReverseSession(tunnel.id, tunnel.upstream_id, tunnel.name, tunnel.principal, tunnel.peer, at)

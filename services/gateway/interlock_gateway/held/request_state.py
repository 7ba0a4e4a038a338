"""``requestState`` of calls that wait here for a client: which call, at which edge, for whom, until when.

Sealed, and bound to the principal and to what was called, so that it serves nobody else and nothing else
(MCP 2026-07-28, multi-round-trip requests, security).
"""

import hashlib

import msgspec

from interlock_common.clock import Clock
from interlock_common.sealing import SealBroken, Sealer
from interlock_gateway import jsonrpc
from interlock_gateway.jsonrpc import INVALID_PARAMS, RpcError
from interlock_gateway.upstreams.transport import UpstreamRequest

STATE, RESPONSES = "requestState", "inputResponses"
_PURPOSE = "request-state"
_MAX_STATE = 4096
_encode = msgspec.json.encode


class HeldAt(msgspec.Struct, frozen=True):
    """The content of a state: where the call waits, until when (seconds since the epoch), and of which parameters."""

    edge: str
    hold: str
    until: int
    params: str


class RequestStates:
    """Makes states and opens them again."""

    def __init__(self, sealer: Sealer, clock: Clock) -> None:
        self._sealer = sealer
        self._clock = clock

    def seal(self, request: UpstreamRequest, edge: str, hold: str, lifetime: float) -> str:
        """The state that the retry of ``request`` brings back."""
        held = HeldAt(edge, hold, int(self._clock.time() + lifetime), digest(request.params))
        return self._sealer.seal(_PURPOSE, _encode(held), _context(request))

    def open(self, state: msgspec.Raw, request: UpstreamRequest) -> HeldAt:
        """What a retry brought; raises RpcError -32602 for what was not given out for this call, or has expired."""
        text = jsonrpc.string(state, f"params.{STATE}")
        try:
            held = msgspec.json.decode(self._sealer.open(_PURPOSE, text[:_MAX_STATE], _context(request)), type=HeldAt)
        except (SealBroken, msgspec.DecodeError):
            message = f"params.{STATE} is not one that was given to you for this call, or it was changed"
            raise RpcError(INVALID_PARAMS, message, status=400, data={"code": "request_state_invalid"}) from None
        if held.until < self._clock.time():
            raise gone("has expired")
        if held.params != digest(request.params):
            message = f"params.{STATE} was given for other parameters: a retry repeats those of the first request"
            raise RpcError(INVALID_PARAMS, message, status=400, data={"code": "request_state_invalid"})
        return held


def gone(what: str = "is over") -> RpcError:
    """The call that a state is about does not wait any more."""
    message = f"the call that {STATE} goes on with {what}: ask anew, without {STATE} and {RESPONSES}"
    return RpcError(INVALID_PARAMS, message, status=400, data={"code": "request_state_gone"})


def digest(params: bytes) -> str:
    """The same for parameters that mean the same, whatever the order of their members; ``_meta`` is not looked at."""
    members = jsonrpc.members(msgspec.Raw(params))
    for key in ("_meta", STATE, RESPONSES):
        members.pop(key, None)
    try:
        canonical = _encode(msgspec.json.decode(_encode(members)), order="sorted")
    except (msgspec.DecodeError, RecursionError):
        canonical = _encode(members)
    return hashlib.sha256(canonical).hexdigest()


def _context(request: UpstreamRequest) -> bytes:
    return _encode((request.principal, request.upstream.id, request.method, request.name))

"""How a client learns that its user has to consent first: by its own means, or in the words of an error.

MCP 2026-07-28: ``input_required`` with an elicitation in URL mode; 2025-11-25: error -32042 (elicitation, URL mode).
The retry of a stateless client brings back a state of ours in the place of what the first request had there.
"""

import msgspec

from interlock_common.clock import Clock
from interlock_common.sealing import SealBroken, Sealer
from interlock_gateway import jsonrpc
from interlock_gateway.held.request_state import RESPONSES, STATE
from interlock_gateway.jsonrpc import INVALID_PARAMS, INVALID_REQUEST, MISSING_CAPABILITY, RpcError
from interlock_gateway.operations import Params
from interlock_gateway.results import Result
from interlock_gateway.upstreams.eras.declared import ELICIT, declines, lacking
from interlock_gateway.upstreams.oauth.grants import ConsentNeeded

URL_ELICITATION_REQUIRED = -32042
_URL_VERSION = "2025-11-25"
_PURPOSE = "consent-wait"
_KEY = "consent"
_LIFETIME = 900
_MAX_KEPT = 64 * 1024
_URL_MODE = b'{"mode":"url"}'
_encode = msgspec.json.encode


class _Waiting(msgspec.Struct, frozen=True):
    """What a retry goes on with: what the first request had brought for the upstream itself."""

    until: int
    kept: dict[str, msgspec.Raw]


class Consenting:
    """Asks clients to send their users to a page, and takes them back; states are bound to ``principal``."""

    def __init__(self, sealer: Sealer, clock: Clock) -> None:
        self._sealer = sealer
        self._clock = clock

    def resumed(self, params: Params, principal: str) -> tuple[Params, bool]:
        """The parameters of a retry as the first request had them, and whether the user declined.

        Parameters without a state of ours are answered as they are.
        """
        if STATE not in params:
            return params, False
        try:
            state = jsonrpc.string(params[STATE], STATE)
            waiting = msgspec.json.decode(self._sealer.open(_PURPOSE, state, principal.encode()), type=_Waiting)
        except (RpcError, SealBroken, msgspec.DecodeError):
            return params, False
        if waiting.until < self._clock.time():
            message = f"params.{STATE} has expired: ask anew, without {STATE} and {RESPONSES}"
            raise RpcError(INVALID_PARAMS, message, status=400, data={"code": "request_state_gone"})
        given = jsonrpc.members(params.get(RESPONSES, msgspec.Raw(b"{}")), f"params.{RESPONSES}")
        declined = _KEY in given and declines(bytes(given[_KEY]))
        rest = {name: value for name, value in params.items() if name not in {STATE, RESPONSES}}
        return rest | waiting.kept, declined

    def asked(
        self, needed: ConsentNeeded, request_id: jsonrpc.Id, params: Params, principal: str, *,
        version: str, capabilities: bytes, declined: bool,
    ) -> Result:  # fmt: skip
        """The result that asks a stateless client; raises RpcError for every other, which names the page.

        ``version`` is the revision of a session, empty in the stateless era.
        """
        elicitation = {
            "mode": "url", "url": needed.url,
            "message": f"{needed.upstream} needs your consent before it can be used on your behalf.",
        }  # fmt: skip
        missing = lacking(ELICIT, _URL_MODE, capabilities)
        text = f"{needed.detail}: open {needed.url} and ask again" if needed.url else needed.detail
        data = {"code": needed.code, **needed.fields}
        if not needed.url or declined:
            raise RpcError(INVALID_REQUEST, text, data=data)
        if version:
            if missing or version < _URL_VERSION:
                raise RpcError(INVALID_REQUEST, text, data=data)
            asking = {"elicitations": [elicitation | {"elicitationId": needed.id}]}
            raise RpcError(URL_ELICITATION_REQUIRED, text, data=data | asking)
        if missing:
            raise RpcError(MISSING_CAPABILITY, text, status=400, data=data | {"requiredCapabilities": missing})
        kept = {name: params[name] for name in (STATE, RESPONSES) if name in params}
        if sum(len(bytes(value)) for value in kept.values()) > _MAX_KEPT:
            raise RpcError(INVALID_REQUEST, text, data=data)
        waiting = _Waiting(int(self._clock.time() + _LIFETIME), kept)
        result = {
            "resultType": "input_required",
            "inputRequests": {_KEY: {"method": ELICIT, "params": elicitation}},
            STATE: self._sealer.seal(_PURPOSE, _encode(waiting), principal.encode()),
        }
        return Result(jsonrpc.answer(request_id, _encode(result)), "input_required")

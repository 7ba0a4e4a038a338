"""Asking the plugins: one request per phase, only where a chain is bound."""

from dataclasses import dataclass

import msgspec
from opentelemetry.trace import SpanKind

from interlock_common import telemetry
from interlock_common.bus import Bus
from interlock_common.endpoints import TIMEOUT_HEADER
from interlock_common.errors import InterlockError, Unavailable
from interlock_common.messages.plugins import Binding, Hook, HookCall, HookContext, HookVerdict
from interlock_common.messages.subjects import PLUGINS_HOOK_RUN
from interlock_common.mirror import Mirror
from interlock_gateway.jsonrpc import DENIED, RpcError
from interlock_gateway.recording import CallRecord

_encode = msgspec.json.encode
_verdict = msgspec.json.Decoder(HookVerdict)
_MARGIN_SECONDS = 0.5  # for the way there and back, so that the chain's own deadline speaks first


@dataclass(slots=True)
class Hooks:
    """The edge's side of the plugin chains."""

    bus: Bus
    bindings: Mirror[Binding]

    def bound(self, hook: Hook, tool: str) -> Binding | None:
        """The chain that ``hook`` runs for ``tool``; None when the call needs no plugin."""
        binding = self.bindings.get(hook)
        if binding is None or not binding.plugins or (binding.tools and tool not in binding.tools):
            return None
        return binding

    async def run(self, binding: Binding, context: HookContext, payload: bytes, record: CallRecord) -> bytes:
        """The payload as the chain leaves it; raises RpcError when the chain, or its absence, denies the call."""
        try:
            verdict = await self._ask(binding, context, payload)
        except InterlockError as error:
            record.verdicts = (*record.verdicts, f"{binding.hook}:unanswered")
            if binding.on_failure == "continue":
                return payload
            data = {"code": "plugins_unavailable", "reason": error.detail}
            raise RpcError(DENIED, "the plugins that must see this call do not answer", status=503, data=data) from None
        record.verdicts = (*record.verdicts, *(f"{v.plugin}:{v.action}" for v in verdict.verdicts))
        if verdict.action == "deny":
            data = {"code": verdict.code, "reason": verdict.reason, "plugin": verdict.plugin}
            raise RpcError(DENIED, f"denied by policy: {verdict.reason}", data=data)
        return bytes(verdict.payload) if isinstance(verdict.payload, msgspec.Raw) else payload

    async def _ask(self, binding: Binding, context: HookContext, payload: bytes) -> HookVerdict:
        call = HookCall(binding.hook, context, msgspec.Raw(payload), binding.timeout)
        timeout = binding.timeout + _MARGIN_SECONDS
        with telemetry.span(f"request {PLUGINS_HOOK_RUN}", SpanKind.CLIENT):
            headers = telemetry.inject({TIMEOUT_HEADER: f"{timeout:g}"})
            answer = await self.bus.request_raw(PLUGINS_HOOK_RUN, _encode(call), headers, timeout)
            try:
                return _verdict.decode(answer)
            except msgspec.DecodeError:
                raise Unavailable("the plugins answered with what is no verdict") from None

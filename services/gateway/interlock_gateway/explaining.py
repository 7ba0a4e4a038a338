"""Why a call would be let through or refused: the decisions of the hot path, one by one, for administrators.

It asks the code that every request goes through, counts nothing, and calls no upstream.
"""

from dataclasses import dataclass, field

from interlock_common.errors import InterlockError, InvalidInput
from interlock_common.messages.explaining import Asked, Explanation, Rule
from interlock_gateway.authentication import Authenticator
from interlock_gateway.caller import Caller
from interlock_gateway.certificates.encodings import der_of
from interlock_gateway.certificates.errors import CertificateUnreadable
from interlock_gateway.certificates.peer import PeerCertificate
from interlock_gateway.certificates.shown import Shown
from interlock_gateway.guard.buckets import ONE
from interlock_gateway.guard.rate_limits import PRINCIPAL, TOKEN, RateLimits
from interlock_gateway.jsonrpc import RpcError
from interlock_gateway.operations import CALL_TOOL
from interlock_gateway.routing import Catalog, may_see, offer_for
from interlock_gateway.tool_calls import authorized_route

_AUTHENTICATION: tuple[tuple[str, frozenset[str]], ...] = (
    ("form", frozenset({"token_missing", "token_malformed"})),
    ("keys of the issuer", frozenset({"issuer_keys_pending", "issuer_keys_stale"})),
    ("signature", frozenset({"token_signature"})),
    ("time", frozenset({"token_expired", "token_not_yet_valid"})),
    ("issuer", frozenset({"token_issuer"})),
    ("environment", frozenset({"token_environment"})),
    ("revocation", frozenset({"token_revoked"})),
    ("certificate", frozenset({"token_bound", "certificate_revoked"})),
    ("principal", frozenset({"token_rejected"})),
    ("audience", frozenset({"token_audience"})),
    ("one principal", frozenset({"credentials_disagree"})),
    ("freshness", frozenset({"revocation_stale"})),
    ("address", frozenset({"scope_ip"})),
    ("hours", frozenset({"scope_time"})),
    ("use", frozenset({"scope_usage"})),
    ("policy of certificates", frozenset({"certificate_policy"})),
)
"""The rules of authentication in their order, by the codes with which they refuse."""


class _Refused(Exception):
    """A rule refused; the last of the steps says which."""


@dataclass(slots=True)
class _Steps:
    """What was decided so far."""

    rules: list[Rule] = field(default_factory=list[Rule])
    code: str = ""

    def passed(self, name: str, reason: str) -> None:
        self.rules.append(Rule(name, passed=True, reason=reason))

    def refused(self, name: str, code: str, reason: str) -> _Refused:
        self.rules.append(Rule(name, passed=False, reason=reason))
        self.code = code
        return _Refused()


class Explainer:
    """Says which rule decides."""

    def __init__(self, authenticator: Authenticator, catalog: Catalog, limits: RateLimits) -> None:
        self._authenticator = authenticator
        self._catalog = catalog
        self._limits = limits

    def explain(self, asked: Asked) -> Explanation:
        """The decision about a call of ``asked.tool`` at ``asked.server_id``, and each rule on the way to it."""
        steps = _Steps()
        caller: Caller | None = None
        try:
            caller = self._authenticate(steps, asked)
            self._rates(steps, caller)
            self._server(steps, caller, asked.server_id)
            self._tool(steps, caller, asked)
        except _Refused:
            pass
        return Explanation(
            allowed=not steps.code,
            code=steps.code,
            rules=tuple(steps.rules),
            principal=caller.principal if caller else "",
            token_id=caller.token_id if caller else "",
            teams=tuple(sorted(caller.teams)) if caller else (),
            scopes=caller.scopes if caller else None,
        )

    def _authenticate(self, steps: _Steps, asked: Asked) -> Caller:
        credential = b"Bearer " + asked.token.encode()
        shown = self._shown(steps, asked.certificate)
        try:
            caller = self._authenticator.caller(credential, asked.address, asked.server_id, counted=False, shown=shown)
        except InterlockError as error:
            for name, codes in _AUTHENTICATION:
                if error.code in codes:
                    raise steps.refused(name, error.code, error.detail) from None
                steps.passed(name, "fits")
            raise steps.refused("edge", error.code, error.detail) from None
        for name, _codes in _AUTHENTICATION:
            steps.passed(name, "fits")
        return caller

    def _shown(self, steps: _Steps, certificate: str | None) -> Shown | None:
        """What comes besides the token; raises InvalidInput for what is no certificate."""
        if certificate is None:
            return None
        try:
            shown = Shown(PeerCertificate.of(der_of(certificate.encode())))
        except CertificateUnreadable as error:  # what is asked for is wrong, not who asks
            raise InvalidInput(error.detail, field="certificate") from None
        try:
            self._authenticator.check_shown(shown)
        except InterlockError as error:
            raise steps.refused("client certificate", error.code, error.detail) from None
        steps.passed("client certificate", "counts")
        return shown

    def _rates(self, steps: _Steps, caller: Caller) -> None:
        for kind, key in ((PRINCIPAL, caller.principal), (TOKEN, caller.token_id)):
            left = self._limits.left(kind, key)
            if left < ONE:
                raise steps.refused("rate", "rate_limited", f"too many requests of this {kind} at this moment")
            steps.passed("rate", f"requests of this {kind} are within their limit")

    def _server(self, steps: _Steps, caller: Caller, server_id: str | None) -> None:
        scoped = caller.scopes.server_id
        if scoped is not None and scoped != server_id:
            raise steps.refused("server scope", "insufficient_scope", f"the token is limited to the server {scoped}")
        steps.passed("server scope", "the token is limited to no other server")
        if server_id is None:
            return
        server = self._catalog.servers.get(server_id)
        if server is None:
            raise steps.refused("server", "not_found", f"there is no virtual server {server_id}")
        try:
            offer_for(self._catalog, caller, server_id)
        except InterlockError as error:
            raise steps.refused("server", error.code, _hidden("server", server.visibility, server.team)) from None
        steps.passed("server", f"the server is {server.visibility}, and the caller may see it")

    def _tool(self, steps: _Steps, caller: Caller, asked: Asked) -> None:
        route = CALL_TOOL.find(offer_for(self._catalog, caller, asked.server_id), asked.tool, caller)
        if route is None:
            raise steps.refused("tool", "unknown_tool", f"there is no tool {asked.tool} here")
        upstream = route.upstream
        steps.passed("tool", f"{asked.tool} is {route.definition.name} of the upstream {upstream.name}")
        if not may_see(caller, route):
            reason = _hidden("upstream", upstream.visibility, upstream.team)
            raise steps.refused("visibility", "unknown_tool", reason)
        steps.passed("visibility", f"the upstream is {upstream.visibility}, and the caller may see it")
        if not route.usable:
            raise steps.refused(
                "quarantine", "definition_quarantined", "the definition has changed, and waits to be accepted"
            )
        steps.passed("quarantine", "the definition is accepted")
        permission = CALL_TOOL.permission
        try:
            authorized_route(self._catalog, caller, CALL_TOOL, asked.server_id, asked.tool, modern=True)
        except (InterlockError, RpcError):
            raise steps.refused("permission", "insufficient_scope", _lacking(caller, permission)) from None
        steps.passed("permission", f"the principal and the token have {permission}")


def _hidden(what: str, visibility: str, team: str | None) -> str:
    whose = f"for the team {team}" if visibility == "team" else "its owner's alone"
    return f"the {what} is {whose}, and the caller may not see it; callers are told that there is none"


def _lacking(caller: Caller, permission: str) -> str:
    scoped = caller.scopes.permissions
    if scoped and permission not in scoped and "*" not in scoped:
        return f"scopes.permissions of the token do not name {permission}"
    return f"no role of the principal has {permission}"

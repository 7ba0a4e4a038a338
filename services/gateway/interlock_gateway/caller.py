"""Whoever may act at this moment, and how far the credential reaches that they came with."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from interlock_common.messages.auth import Principal, Scopes
from interlock_common.messages.common import Actor
from interlock_gateway.certificates.identities import Named
from interlock_gateway.certificates.peer import PeerCertificate
from interlock_gateway.claims import NEVER
from interlock_gateway.revocations import Traces

_NOWHERE: Mapping[str, tuple[str, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal that may act now, and how far this credential of theirs reaches.

    ``unrestricted`` callers see every object; others see public objects, those of ``teams`` and their own. ``traces``
    are by what its credential can be revoked. ``certificate`` is the one that was shown; ``bound`` says that the token
    counts with it only.
    """

    principal: str
    token_id: str
    expires_at: int
    is_admin: bool
    unrestricted: bool
    teams: frozenset[str]
    permissions: frozenset[str]
    scopes: Scopes
    traces: Traces | None = None
    team_permissions: Mapping[str, tuple[str, ...]] = _NOWHERE
    certificate: PeerCertificate | None = None
    bound: bool = False

    @property
    def has_token(self) -> bool:
        """Whether it came with a token, not with a certificate or the word of a proxy alone."""
        return self.traces is None or bool(self.traces.kid)

    @property
    def minted_here(self) -> bool:
        """Whether auth knows its token; the keys of other authorization servers have a name with a slash here."""
        return self.has_token and (self.traces is None or "/" not in self.traces.kid)

    @property
    def limited_as(self) -> str:
        """The name under which requests with its certificate are counted; empty where there is none."""
        return "" if self.certificate is None else self.certificate.limited_as

    @property
    def revoked_with(self) -> tuple[str, ...]:
        """The ids of the tokens with any of which this one is revoked."""
        return (self.token_id,) if self.traces is None else self.traces.ids

    def may(self, permission: str, team: str | None = None) -> bool:
        """Whether both the principal and the token have ``permission``, for what belongs to ``team`` where one is."""
        held = self.is_admin or permission in self.permissions or "*" in self.permissions
        if not held and team is not None:
            held = permission in self.team_permissions.get(team, ())
        scoped = self.scopes.permissions
        return held and (not scoped or permission in scoped or "*" in scoped)

    def actor(self) -> Actor:
        """This caller as other services are told of it: an administrator only with a token that is not narrowed."""
        held = ("*",) if self.is_admin else tuple(sorted(self.permissions))
        scoped = self.scopes.permissions
        if scoped and "*" not in scoped:
            held = tuple(name for name in scoped if self.may(name))
        in_teams = {team: tuple(n for n in names if self.may(n, team)) for team, names in self.team_permissions.items()}
        return Actor(
            principal=self.principal,
            is_admin=self.unrestricted and not self.scopes.permissions,
            teams=tuple(sorted(self.teams)),
            permissions=held,
            token_id=self.token_id if self.minted_here else None,
            team_permissions=in_teams,
            bound_to=self.certificate.thumbprint if self.bound and self.certificate is not None else None,
        )


def caller_by_token(
    principal: Principal, token_id: str, traces: Traces, scopes: Scopes, teams: tuple[str, ...] | None, expires_at: int,
    certificate: PeerCertificate | None = None, *, bound: bool = False,
) -> Caller:  # fmt: skip
    """The caller of a request with a token, which may be for some of the teams of its principal."""
    if teams is None:
        within = frozenset(principal.teams) if principal.is_admin else frozenset[str]()
    else:
        within = frozenset(teams) if principal.is_admin else frozenset(teams) & frozenset(principal.teams)
    return Caller(
        principal=principal.name,
        token_id=token_id,
        expires_at=expires_at if certificate is None else min(expires_at, certificate.not_after),
        is_admin=principal.is_admin,
        unrestricted=principal.is_admin and teams is None,
        teams=within,
        permissions=frozenset(principal.permissions),
        scopes=scopes,
        traces=traces,
        team_permissions=_of_teams(principal, within),
        certificate=certificate,
        bound=bound,
    )


def caller_by_name(principal: Principal, named: Named, scopes: Scopes) -> Caller:
    """The caller of a request without a token: it reaches as far as its principal, and as policies let it."""
    teams = frozenset(principal.teams)
    return Caller(
        principal=principal.name,
        token_id=named.credential,
        expires_at=NEVER if named.certificate is None else named.certificate.not_after,
        is_admin=principal.is_admin,
        unrestricted=principal.is_admin,
        teams=teams,
        permissions=frozenset(principal.permissions),
        scopes=scopes,
        traces=named.traces,
        team_permissions=_of_teams(principal, teams),
        certificate=named.certificate,
    )


def _of_teams(principal: Principal, teams: frozenset[str]) -> Mapping[str, tuple[str, ...]]:
    if not principal.team_permissions or principal.is_admin:
        return _NOWHERE
    return {team: names for team, names in principal.team_permissions.items() if team in teams}

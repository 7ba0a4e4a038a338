"""Who somebody is here that a provider vouches for: whom it was linked to, or a new account where that is on.

An account is never taken over by its e-mail, verified or not: of one that is there already, an administrator decides.
"""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth import names
from interlock_auth.directory import Directory
from interlock_auth.errors import ProviderLoginRefused
from interlock_auth.identity_links import IdentityLinks
from interlock_auth.issuer_store import IssuerStore
from interlock_auth.models import PrincipalRow
from interlock_auth.outlet import Outlet
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import InvalidInput
from interlock_common.messages.issuers import IssuerSettings, LoginSettings

_NOBODY = "nobody here is linked to this account of yours"


class Provisioning:
    """Finds or makes the account of an identity."""

    def __init__(
        self, engine: AsyncEngine, directory: Directory, links: IdentityLinks, outlet: Outlet, clock: Clock
    ) -> None:
        self._engine = engine
        self._directory = directory
        self._links = links
        self._outlet = outlet
        self._clock = clock

    async def principal(self, said: IssuerSettings, login: LoginSettings, claims: dict[str, Any]) -> str:
        """The name of an active principal; raises ProviderLoginRefused that says why there is none."""
        subject = str(claims["sub"])
        async with transaction(self._engine) as session:
            store = IssuerStore(session)
            identity = await store.identity(said.issuer, subject)
            row = None if identity is None else await store.principal(identity.principal)
        if identity is None:
            return await self._provisioned(said, login, claims)
        reason = ""
        if row is None or not row.active:
            reason = _NOBODY
        elif row.is_admin and not said.administrators:
            reason = "administrators do not log in with this provider"
        if reason:
            self._outlet.record_soon("login.refused", identity.principal, said.issuer, subject=subject, reason=reason)
            raise ProviderLoginRefused(reason)
        return identity.principal

    async def _provisioned(self, said: IssuerSettings, login: LoginSettings, claims: dict[str, Any]) -> str:
        name, subject = _address(login, claims), str(claims["sub"])
        row = PrincipalRow(
            name=name, kind="person", password_hash=None, active=True, is_admin=False,
            created_at=int(self._clock.time()),
        )  # fmt: skip
        created = False
        if name:
            async with transaction(self._engine) as session:
                created = await IssuerStore(session).add_principal(row)
        if not created:
            self._outlet.record_soon("login.refused", said.name, said.issuer, subject=subject, reason=_NOBODY)
            raise ProviderLoginRefused(f"{_NOBODY}: an administrator can link the subject {subject} of {said.name}")
        await self._outlet.record("user.provisioned", said.name, name, issuer=said.issuer)
        await self._directory.publish([name])
        await self._links.add(said.issuer, subject, name, said.name)
        return name


def _address(login: LoginSettings, claims: dict[str, Any]) -> str:
    """The e-mail that a new account would be named by; empty where there is to be none."""
    given = claims.get("email")
    if not login.provision or not isinstance(given, str) or claims.get("email_verified") is not True:
        return ""
    try:
        name = names.email(given)
    except InvalidInput:
        return ""
    return name if name.rpartition("@")[2] in login.domains else ""

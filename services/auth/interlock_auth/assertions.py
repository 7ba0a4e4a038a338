"""Saying to other authorization servers who a principal is: the subject of a token exchange (RFC 8693, section 2.1).

An assertion opens nothing here: its audience is never ours, and it says so in its type.
"""

import uuid

import jwt
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.errors import AudienceRefused, NotContained
from interlock_auth.keys import Keyring
from interlock_auth.outlet import Outlet
from interlock_auth.store import Store
from interlock_auth.tokens import TokenRules
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.auth import Assertion, MintAssertion

LIFETIME = 60
ASSERTION_TYPE = "assertion+jwt"
_MAX_AUDIENCE = 2048


class Assertions:
    """Signs assertions; who may ask for them is a matter of the permissions on the bus."""

    def __init__(self, engine: AsyncEngine, keyring: Keyring, rules: TokenRules, outlet: Outlet, clock: Clock) -> None:
        self._engine = engine
        self._keyring = keyring
        self._rules = rules
        self._outlet = outlet
        self._clock = clock

    async def mint(self, request: MintAssertion) -> Assertion:
        """An assertion of a minute about an active principal; raises AudienceRefused and NotContained."""
        audience = request.audience
        if not audience or len(audience) > _MAX_AUDIENCE or not audience.isprintable():
            raise AudienceRefused(f"an audience has 1 to {_MAX_AUDIENCE} printable characters")
        if audience in {self._rules.audience, self._rules.issuer}:
            raise AudienceRefused("an assertion is for others: its audience cannot be this deployment's own")
        now, assertion_id = int(self._clock.time()), str(uuid.uuid4())
        claims = {
            "iss": self._rules.issuer, "sub": request.principal, "aud": audience, "jti": assertion_id,
            "iat": now, "exp": now + LIFETIME,
        }  # fmt: skip
        async with transaction(self._engine) as session:
            store = Store(session)
            row = await store.principal(request.principal)
            if row is None or not row.active:
                raise NotContained("the principal is not an active one here")
            pair = await self._keyring.signer(store, now + LIFETIME)
        token = jwt.encode(claims, pair.private, pair.algorithm, headers={"kid": pair.kid, "typ": ASSERTION_TYPE})
        self._outlet.record_soon("assertion.minted", request.principal, assertion_id, audience=audience)
        return Assertion(token, now + LIFETIME)

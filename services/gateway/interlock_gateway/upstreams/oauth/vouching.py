"""Assertions about principals, as auth signs them (``svc.auth.token.assertion``)."""

from typing import Protocol

import msgspec

from interlock_common.messages import subjects
from interlock_common.messages.auth import Assertion, MintAssertion

_ASK_SECONDS = 5.0


class Asking(Protocol):
    """The bus, as far as asking goes."""

    async def request[T](self, subject: str, message: msgspec.Struct, reply: type[T], *, timeout: float = 5.0) -> T: ...


class AuthVouches:
    """Asks auth."""

    def __init__(self, bus: Asking) -> None:
        self._bus = bus

    async def assertion(self, principal: str, audience: str) -> str:
        """A JWT of a minute that says to ``audience`` who ``principal`` is; raises what auth refuses with."""
        request = MintAssertion(principal, audience)
        minted = await self._bus.request(subjects.AUTH_TOKEN_ASSERTION, request, Assertion, timeout=_ASK_SECONDS)
        return minted.token

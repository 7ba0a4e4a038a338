"""For tests: the authorization server on a real database, and a client that goes through it as it should."""

import json
from dataclasses import dataclass
from typing import Any

import jwt
import msgspec
from authlib.oauth2.rfc7636 import challenge as pkce  # pyright: ignore[reportMissingTypeStubs]
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.models import PrincipalRow
from interlock_auth.oauth import AuthorizationServer, OAuthRules
from interlock_auth.passwords import Passwords
from interlock_auth.store import Store
from interlock_common.database import transaction
from interlock_common.messages.common import Actor
from interlock_common.messages.oauth import (
    Authorize,
    RegisterClient,
    RegisteredClient,
    StartSession,
    TokenAnswer,
    TokenRequest,
)

ADA = "ada@example.com"
PASSWORD = "correct horse battery staple"  # noqa: S105 - nobody's
REDIRECT = "https://client.example/callback"
RESOURCE = "https://gateway.example/mcp"
VERIFIER = "v" * 64
CHALLENGE: str = pkce.create_s256_code_challenge(VERIFIER)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
EVERYTHING = ("tools.read", "tools.execute", "servers.read", "tokens.read")


def metadata(**also: Any) -> msgspec.Raw:
    """What a client says of itself (RFC 7591)."""
    given: dict[str, Any] = {
        "redirect_uris": [REDIRECT], "client_name": "Desk", "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
    }  # fmt: skip
    return msgspec.Raw(json.dumps(given | also).encode())


@dataclass
class OAuthWorld:
    """Who is there, what they hold, and the one client."""

    engine: AsyncEngine
    passwords: Passwords
    server: AuthorizationServer
    rules: OAuthRules
    client: RegisteredClient | None = None

    @property
    def client_id(self) -> str:
        return self.client.client_id if self.client else ""

    async def add(self, name: str = ADA, *permissions: str, admin: bool = False) -> Actor:
        row = PrincipalRow(
            name=name, password_hash=await self.passwords.hash(PASSWORD), active=True, is_admin=admin, teams='["red"]',
            permissions=msgspec.json.encode(permissions or EVERYTHING).decode(), created_at=0,
        )  # fmt: skip
        async with transaction(self.engine) as session:
            await Store(session).add_principal(row)
        return Actor(name, is_admin=admin, teams=("red",), permissions=permissions or EVERYTHING)

    async def deactivate(self, name: str = ADA) -> None:
        async with transaction(self.engine) as session:
            await session.execute(update(PrincipalRow).where(PrincipalRow.name == name).values(active=False))

    async def register(self, **also: Any) -> RegisteredClient:
        self.client = await self.server.registration.register(RegisterClient(metadata(**also)))
        return self.client

    async def login(self, name: str = ADA) -> str:
        return (await self.server.sessions.login(StartSession(name, PASSWORD))).session

    def asked(self, **also: Any) -> Authorize:
        given: dict[str, Any] = {
            "client_id": self.client_id, "redirect_uri": REDIRECT, "response_type": "code",
            "code_challenge": CHALLENGE, "code_challenge_method": "S256", "scope": "tools.read tools.execute",
            "audience": RESOURCE,
        }  # fmt: skip
        return Authorize(**(given | also))

    async def code(self, **also: Any) -> str:
        session = also.pop("session", None) or await self.login()
        answer = await self.server.authorizations.authorize(self.asked(session=session, approved=True, **also))
        if not answer.code:
            raise AssertionError(answer)
        return answer.code

    def exchange(self, code: str, **also: Any) -> TokenRequest:
        given: dict[str, Any] = {
            "grant_type": "authorization_code", "client_id": self.client_id, "code": code,
            "redirect_uri": REDIRECT, "code_verifier": VERIFIER, "resource": RESOURCE,
        }  # fmt: skip
        return TokenRequest(**(given | also))

    async def tokens(self, **also: Any) -> TokenAnswer:
        return await self.server.tokens.exchange(self.exchange(await self.code(**also), resource=""))

    async def refresh(self, token: str | None, **also: Any) -> TokenAnswer:
        given: dict[str, Any] = {"grant_type": "refresh_token", "client_id": self.client_id, "refresh_token": token}
        return await self.server.tokens.exchange(TokenRequest(**(given | also)))


def claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})

"""For tests: an OpenID provider over real HTTP, with real keys; it does what a test says, wrong things as well."""

import asyncio
import base64
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import unquote_plus, urlencode

from aiohttp import web
from authlib.oauth2.rfc7636 import challenge as pkce  # pyright: ignore[reportMissingTypeStubs]
from joserfc import jwt
from joserfc.jwk import RSAKey

from interlock_common.clock import SYSTEM_CLOCK, Clock

CLIENT, SECRET = "gateway-client", "s3cret of the gateway"
SUBJECT = "8f2e-ada"


@dataclass
class Provider:
    """An OpenID provider at ``issuer``.

    ``keys`` are published, the last of them signs. ``claims`` are added to its ID tokens, ``metadata`` to what it
    says of itself; None takes one away. ``away`` answers nothing but 503, ``stuck`` nothing at all, ``huge`` more than
    anybody should read.
    """

    issuer: str = ""
    keys: list[RSAKey] = field(default_factory=list[RSAKey])
    claims: dict[str, Any] = field(default_factory=dict[str, Any])
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    away: bool = False
    stuck: bool = False
    huge: bool = False
    asked: list[str] = field(default_factory=list[str])
    codes: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    clock: Clock = SYSTEM_CLOCK

    def rotate(self, *, keep: bool = True) -> None:
        """A new key signs from now on; the old ones stay published, or not."""
        key = RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig", "alg": "RS256"}, private=True)
        self.keys = [*(self.keys if keep else []), key]

    @property
    def kids(self) -> list[str]:
        """The ids of its keys, in their order."""
        return [str(key.kid) for key in self.keys]

    def token(self, *, headers: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """A token of its newest key; ``claims`` None are left out."""
        now = int(self.clock.time())
        said: dict[str, Any] = {"iss": self.issuer, "sub": SUBJECT, "iat": now, "exp": now + 300} | claims
        header: dict[str, Any] = {"alg": "RS256", "kid": self.keys[-1].kid} | dict(headers or {})
        return jwt.encode(header, {name: value for name, value in said.items() if value is not None}, self.keys[-1])

    def visit(self, location: str, **changes: Any) -> dict[str, str]:
        """What a browser comes back with that was sent to ``location``, where its user logs in."""
        query = dict(pair.split("=", 1) for pair in location.partition("?")[2].split("&"))
        asked = {name: unquote_plus(value) for name, value in query.items()}
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return {"code": code, "state": asked["state"], "iss": self.issuer} | changes

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if self.stuck:
            await asyncio.Event().wait()
        if self.away:
            return web.Response(status=503)
        match request.path:
            case "/.well-known/openid-configuration":
                return web.json_response(self._described())
            case "/jwks":
                pad = "x" * 200_000 if self.huge else ""
                return web.json_response({"keys": [key.as_dict(private=False) for key in self.keys], "pad": pad})
            case "/authorize":
                back = self.visit(str(request.url))
                place = self.codes[back["code"]]["redirect_uri"]
                return web.Response(status=302, headers={"Location": f"{place}?{urlencode(back)}"})
            case "/token":
                form = {name: str(value) for name, value in (await request.post()).items()}
                return self._redeemed(form, request.headers.get("Authorization", ""))
            case _:
                return web.Response(status=404)

    def _described(self) -> dict[str, Any]:
        said: dict[str, Any] = {
            "issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks", "token_endpoint": f"{self.issuer}/token",
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "code_challenge_methods_supported": ["S256"], "authorization_response_iss_parameter_supported": True,
        }  # fmt: skip
        return {name: value for name, value in (said | self.metadata).items() if value is not None}

    def _redeemed(self, form: Mapping[str, str], authorization: str) -> web.Response:
        asked = self.codes.pop(form.get("code", ""), None)
        proof = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        if [unquote_plus(part) for part in proof.split(":")] != [CLIENT, SECRET]:
            return web.json_response({"error": "invalid_client"}, status=401)
        made = cast("str", pkce.create_s256_code_challenge(form.get("code_verifier", "")))  # pyright: ignore[reportUnknownMemberType]
        fits = asked is not None and made == asked["code_challenge"] and form["redirect_uri"] == asked["redirect_uri"]
        if asked is None or not fits:
            return web.json_response({"error": "invalid_grant"}, status=400)
        said: Any = {"aud": CLIENT, "nonce": asked["nonce"]} | self.claims
        token = self.token(**said)
        return web.json_response({"access_token": "opaque", "token_type": "Bearer", "id_token": token})


@asynccontextmanager
async def provider(**how: Any) -> AsyncGenerator[Provider]:
    """A provider on this machine, with one key."""
    made = Provider(**how)
    made.rotate()

    async def handle(request: web.Request) -> web.StreamResponse:
        return await made(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()

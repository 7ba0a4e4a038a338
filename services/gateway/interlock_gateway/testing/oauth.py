"""An OAuth authorization server and an upstream that believes it, for tests: real HTTP, strict where it matters."""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from yarl import URL

from interlock_gateway.revisions import MODERN
from interlock_gateway.testing.servers import result_of

_RESULTS: dict[str, dict[str, Any]] = {
    "server/discover": {
        "resultType": "complete", "supportedVersions": [MODERN], "capabilities": {"tools": {}},
        "serverInfo": {"name": "protected", "version": "1"},
    },
    "tools/list": {"resultType": "complete", "tools": [{"name": "echo", "inputSchema": {"type": "object"}}]},
}  # fmt: skip


@dataclass
class AuthorizationServer:
    """Grants whoever comes what is asked for, as ``user``; knows its clients, checks PKCE, rotates refresh tokens.

    A refresh token that is used again ends its whole family (RFC 9700, section 4.14.2). ``metadata`` are changes of
    what it says of itself, None taking a member away. ``lifetime`` is that of access tokens.
    """

    user: str = "ada"
    lifetime: float = 3600
    rotates: bool = True
    open_to_all: bool = True
    sends_iss: bool = True
    says_iss: str = ""
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    issuer: str = ""
    clients: dict[str, str] = field(default_factory=dict[str, str])
    codes: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    access: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    refresh: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    used: dict[str, str] = field(default_factory=dict[str, str])
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list[tuple[str, dict[str, str]]])
    revoked: list[str] = field(default_factory=list[str])
    reused: bool = False
    away: bool = False

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.issuer = self.issuer or str(request.url.origin())
        if self.away:
            return web.Response(status=503)
        if request.method == "GET":
            return self._got(request)
        match request.path:
            case "/register" if self.open_to_all:
                return self._register(await request.json())
            case "/token":
                return self._token(_form(await request.post()), request.headers.get("Authorization", ""))
            case "/revoke":
                self.revoked.append(str((await request.post())["token"]))
                return web.Response()
            case _:
                return web.Response(status=404)

    def _got(self, request: web.Request) -> web.Response:
        if request.path == "/.well-known/oauth-authorization-server":
            return web.json_response(self.described())
        return self._authorize(dict(request.query)) if request.path == "/authorize" else web.Response(status=404)

    def described(self) -> dict[str, Any]:
        base = self.issuer
        said: dict[str, Any] = {
            "issuer": base, "authorization_endpoint": f"{base}/authorize", "token_endpoint": f"{base}/token",
            "revocation_endpoint": f"{base}/revoke", "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "authorization_response_iss_parameter_supported": True,
        }  # fmt: skip
        if self.open_to_all:
            said["registration_endpoint"] = f"{base}/register"
        return {name: value for name, value in (said | self.metadata).items() if value is not None}

    def visit(self, address: str) -> dict[str, str]:
        """What the browser comes back with from ``address``."""
        return dict(URL(self._authorize(dict(URL(address).query)).headers["Location"]).query)

    def who(self, token: str) -> dict[str, str] | None:
        """Whose access token it is."""
        return self.access.get(token)

    def _register(self, body: dict[str, Any]) -> web.Response:
        client_id = f"client-{len(self.clients) + 1}"
        self.clients[client_id] = secrets.token_hex(8)
        self.asked.append(("register", {"redirect_uri": body["redirect_uris"][0]}))
        made = {"client_id": client_id, "client_secret": self.clients[client_id]}
        return web.json_response(body | made, status=201)

    def _authorize(self, query: dict[str, str]) -> web.Response:
        self.asked.append(("authorize", query))
        if query.get("code_challenge_method") != "S256" or not query.get("resource"):
            return web.Response(status=400)
        code = secrets.token_urlsafe(12)
        self.codes[code] = query | {"user": self.user}
        back = {"code": code, "state": query["state"]}
        if self.sends_iss:
            back["iss"] = self.says_iss or self.issuer
        return web.Response(status=302, headers={"Location": str(URL(query["redirect_uri"]).update_query(back))})

    def _token(self, form: dict[str, str], authorization: str) -> web.Response:
        self.asked.append(("token", form))
        client = self._client(form, authorization)
        if client is None:
            return web.json_response({"error": "invalid_client"}, status=401)
        if form["grant_type"] == "authorization_code":
            code = self.codes.pop(form["code"], None)
            if code is None or not _fits(code, form, client):
                return web.json_response({"error": "invalid_grant"}, status=400)
            return self._issue(code["user"], code["resource"], secrets.token_hex(4))
        held = self.refresh.pop(form["refresh_token"], None)
        if held is None:
            self._reuse(self.used.get(form["refresh_token"], ""))
            return web.json_response({"error": "invalid_grant"}, status=400)
        self.used[form["refresh_token"]] = held["family"]
        if not self.rotates:
            self.refresh[form["refresh_token"]] = held
        return self._issue(held["user"], held["resource"], held["family"])

    def _client(self, form: Mapping[str, str], authorization: str) -> str | None:
        if authorization.startswith("Basic "):
            name, _, secret = base64.b64decode(authorization[6:]).decode().partition(":")
            return name if self.clients.get(name) == secret else None
        return form.get("client_id") if self.clients.get(form.get("client_id", "")) == "" else None

    def _reuse(self, family: str) -> None:
        self.reused = self.reused or bool(family)
        for tokens in (self.access, self.refresh):
            for token in [token for token, held in tokens.items() if held["family"] == family]:
                del tokens[token]

    def _issue(self, user: str, resource: str, family: str) -> web.Response:
        held = {"user": user, "resource": resource, "family": family}
        access = f"access-{secrets.token_hex(8)}"
        self.access[access] = held
        said: dict[str, Any] = {"access_token": access, "token_type": "Bearer", "expires_in": self.lifetime}
        if self.rotates or not any(each["family"] == family for each in self.refresh.values()):
            said["refresh_token"] = f"refresh-{secrets.token_hex(8)}"
            self.refresh[said["refresh_token"]] = held
        return web.json_response(said)


@dataclass
class ProtectedUpstream:
    """A stateless MCP server that answers a call with the name of whoever the token is of."""

    server: AuthorizationServer
    tokens: list[str] = field(default_factory=list[str])
    resource: str = ""

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        own = self.resource or str(request.url.origin() / "mcp")
        if request.path == "/.well-known/oauth-protected-resource/mcp":
            return web.json_response({"resource": own, "authorization_servers": [self.server.issuer]})
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        held = self.server.who(token)
        if held is None or held["resource"] != own:
            challenge = f'Bearer resource_metadata="{request.url.origin()}/.well-known/oauth-protected-resource/mcp"'
            return web.json_response({}, status=401, headers={"WWW-Authenticate": challenge})
        self.tokens.append(token)
        message = json.loads(await request.read())
        result = _RESULTS.get(message["method"], {"content": [{"type": "text", "text": held["user"]}]})
        body = result_of(message["id"], json.dumps(result).encode())
        return web.Response(body=body, content_type="application/json")


def _form(given: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in given.items()}


def _fits(code: Mapping[str, str], form: Mapping[str, str], client: str) -> bool:
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    proven = base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == code["code_challenge"]
    same = all(code[name] == form.get(name) for name in ("redirect_uri", "resource"))
    return proven and same and code["client_id"] == client

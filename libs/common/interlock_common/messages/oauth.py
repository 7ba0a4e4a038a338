"""The authorization server behind the edge: its clients, the sessions of browsers, codes and tokens (RFC 6749)."""

from typing import Annotated

import msgspec

from interlock_common.messages.auth import THUMBPRINT
from interlock_common.messages.common import Actor

type Thumbprint = Annotated[str, msgspec.Meta(pattern=THUMBPRINT)]

MCP_SCOPES = ("tools.read", "tools.execute", "resources.read", "prompts.read", "servers.read")
"""What a client gets that asks for nothing in particular: what MCP needs."""


class RegisterClient(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.oauth.register``: client metadata (RFC 7591) as JSON; without ``actor`` by the client itself."""

    metadata: msgspec.Raw
    actor: Actor | None = None


class RegisteredClient(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a client is told of itself (RFC 7591, section 3.2.1); the secret is shown this once."""

    client_id: str
    client_id_issued_at: int
    client_name: str
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]
    response_types: tuple[str, ...]
    token_endpoint_auth_method: str
    client_secret: str | None = None
    client_secret_expires_at: int | None = None
    tls_client_certificate_bound_access_tokens: bool = False


class ClientSummary(msgspec.Struct, frozen=True):
    """A client as administrators see it; ``registered_by`` is empty for one that registered itself."""

    client_id: str
    client_name: str
    redirect_uris: tuple[str, ...]
    token_endpoint_auth_method: str
    registered_by: str
    created_at: int


class ClientList(msgspec.Struct, frozen=True, omit_defaults=True):
    clients: tuple[ClientSummary, ...]
    next_cursor: str | None = None


class StartSession(msgspec.Struct, frozen=True):
    """``svc.auth.oauth.login``: a browser logs in with an e-mail and a password."""

    email: str
    password: str


class BrowserSession(msgspec.Struct, frozen=True):
    """The value of the session's cookie, kept here by its SHA-256 only, and for how many seconds it can last."""

    session: str
    principal: str
    lifetime: int


class EndSession(msgspec.Struct, frozen=True):
    """``svc.auth.oauth.logout``: the session stops counting."""

    session: str


class Authorize(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.oauth.authorize``: a request at the authorization endpoint, and what its user decided.

    ``audience`` is the resource (RFC 8707) where the edge knows it for one of the gateway's, else empty; ``server_id``
    is the virtual server that it names. ``document`` is what a client id that is an URL led to. ``approved`` None only
    asks.
    """

    client_id: str
    redirect_uri: str
    response_type: str
    code_challenge: str
    code_challenge_method: str
    scope: str
    audience: str
    server_id: str | None = None
    session: str = ""
    document: str = ""
    approved: bool | None = None


class Authorization(msgspec.Struct, frozen=True, omit_defaults=True):
    """What comes of it: somebody has to log in (no ``principal``), to decide, or may go back to ``redirect_uri``.

    Back with a ``code``, or with an ``error`` (RFC 6749, section 4.1.2.1). ``wants_document``: the client's metadata
    document is to be fetched first.
    """

    principal: str = ""
    client_name: str = ""
    redirect_uri: str = ""
    scopes: tuple[str, ...] = ()
    code: str = ""
    error: str = ""
    error_description: str = ""
    wants_document: bool = False


class TokenRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.oauth.token``: a request at the token endpoint; ``auth_method`` is how it came by its secret.

    With the method ``private_key_jwt`` the secret is the assertion of the client (RFC 7523), which is for ``own_url``:
    what the gateway is called by. The rest is of a token exchange (RFC 8693), where ``server_id`` is the virtual
    server that ``resource`` is. ``certificate`` (``x5t#S256``) is the client certificate that the request shows, and
    ``succeeds`` those that it stands in for, since it follows them.
    """

    grant_type: str
    client_id: str
    client_secret: str = ""
    auth_method: str = "none"
    own_url: str = ""
    code: str = ""
    redirect_uri: str = ""
    code_verifier: str = ""
    refresh_token: str = ""
    scope: str = ""
    resource: str = ""
    server_id: str | None = None
    subject_token: str = ""
    subject_token_type: str = ""
    requested_token_type: str = ""
    actor_token: str = ""
    certificate: Thumbprint | None = None
    succeeds: Annotated[tuple[Thumbprint, ...], msgspec.Meta(max_length=64)] = ()


class TokenAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 6749, section 5.1, and RFC 8693, section 2.2.1; ``expires_in`` in seconds."""

    access_token: str
    expires_in: int
    scope: str
    token_type: str
    refresh_token: str | None = None
    issued_token_type: str | None = None


class RevokeGrantedToken(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.oauth.revoke``: RFC 7009, by the client it was given to, or by ``actor``."""

    token: str
    client_id: str = ""
    client_secret: str = ""
    auth_method: str = "none"
    own_url: str = ""
    actor: Actor | None = None


class IntrospectToken(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.oauth.introspect``: RFC 7662, for someone who may read tokens, or for a client about its own."""

    token: str
    actor: Actor | None = None
    client_id: str = ""
    client_secret: str = ""
    auth_method: str = "none"
    own_url: str = ""


class Confirmation(msgspec.Struct, frozen=True):
    """The certificate that a token is bound to (RFC 8705, section 3.2)."""

    thumbprint: str = msgspec.field(name="x5t#S256")


class Introspection(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 7662, section 2.2; of a token that does not count, nothing but that."""

    active: bool
    scope: str | None = None
    client_id: str | None = None
    username: str | None = None
    sub: str | None = None
    token_type: str | None = None
    aud: str | None = None
    jti: str | None = None
    iat: int | None = None
    exp: int | None = None
    cnf: Confirmation | None = None

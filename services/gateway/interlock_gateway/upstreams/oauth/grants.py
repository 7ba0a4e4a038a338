"""What users granted for upstreams: the tokens, how they are sealed, and where they are kept."""

import hashlib
from typing import Protocol

import msgspec

from interlock_common.messages.catalog import Upstream
from interlock_common.messages.grants import ClaimGrant, Grant, StoreGrant, grant_context
from interlock_common.sealing import SealBroken, Sealer
from interlock_gateway.upstreams.credentials import CredentialUnusable
from interlock_gateway.upstreams.oauth.token_endpoint import ClientAuth

_PURPOSE = "grant"


class ConsentNeeded(CredentialUnusable):
    """The upstream wants a grant of ``principal``, who has given none; ``url`` is where to give it, if known here.

    ``id`` names this request for consent.
    """

    code = "consent_needed"

    def __init__(self, detail: str, *, upstream: str, url: str = "", id: str = "") -> None:  # noqa: A002 - its name
        super().__init__(detail, **({"url": url} if url else {}))
        self.upstream = upstream
        self.url = url
        self.id = id


class Client(msgspec.Struct, frozen=True, omit_defaults=True):
    """The gateway as an authorization server knows it (RFC 7591, section 3.2.1), and where it sends users back to."""

    id: str
    secret: str = ""
    auth: ClientAuth = "client_secret_basic"
    issuer: str = ""
    redirect_uri: str = ""

    def __repr__(self) -> str:
        return f"Client(id={self.id!r})"

    @property
    def pair(self) -> tuple[str, str]:
        return self.id, self.secret


class Tokens(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a grant holds, and all it takes to refresh and to revoke it; ``expires_at`` in seconds since the epoch.

    ``place`` is what the user agreed to: tokens are of no use for an upstream that leads elsewhere by now.
    """

    access: str
    expires_at: int
    place: str
    token_endpoint: str
    client: Client
    refresh: str = ""
    scope: str = ""
    resource: str = ""
    revocation_endpoint: str = ""

    def __repr__(self) -> str:
        return f"Tokens(expires_at={self.expires_at}, client={self.client!r})"


class Grants(Protocol):
    """Where grants are kept; all but ``held`` raise what asking the catalog raises."""

    async def held(self, upstream_id: str, principal: str) -> Grant | None:
        """The newest grant that is known here."""
        ...

    async def newer(self, upstream_id: str, principal: str, generation: int, seconds: float) -> Grant | None:
        """The grant once it is another than that of ``generation``; raises TimeoutError after ``seconds``."""
        ...

    async def claim(self, request: ClaimGrant) -> bool:
        """Whether nobody else refreshes that generation now."""
        ...

    async def store(self, request: StoreGrant) -> Grant: ...

    async def drop(self, upstream_id: str, principal: str, generation: int) -> None:
        """Forget a grant that is of no use any more; one that is another by now stays."""
        ...


class Vault:
    """Seals and opens what grants hold."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def seal(self, upstream_id: str, principal: str, content: Tokens | Client) -> str:
        return self._sealer.seal(_PURPOSE, msgspec.json.encode(content), grant_context(upstream_id, principal))

    def tokens(self, upstream_id: str, principal: str, grant: Grant) -> Tokens | None:
        """What the grant holds; None where it was sealed under another secret, or for somebody else."""
        return self._open(upstream_id, principal, grant, Tokens)

    def client(self, upstream_id: str, principal: str, grant: Grant) -> Client | None:
        return self._open(upstream_id, principal, grant, Client)

    def _open[T: Tokens | Client](self, upstream_id: str, principal: str, grant: Grant, kind: type[T]) -> T | None:
        try:
            opened = self._sealer.open(_PURPOSE, grant.sealed, grant_context(upstream_id, principal))
            return msgspec.json.decode(opened, type=kind)
        except (SealBroken, msgspec.DecodeError):
            return None


def place_of(upstream: Upstream) -> str:
    """All of a registration that decides where a user's tokens go, and who gives them."""
    credential = upstream.credential
    told = msgspec.json.encode((upstream.transport, upstream.url, sorted(credential.public.items())))
    return hashlib.sha256(told).hexdigest()

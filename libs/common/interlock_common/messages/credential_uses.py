"""By which credentials principals come in: what edges tell auth, and the report for a migration to certificates."""

from typing import Annotated, Literal

import msgspec

from interlock_common.messages.common import Actor

type Credential = Literal["token", "certificate", "both", "proxy"]
"""A token alone, a certificate alone, a token with a certificate that names the same principal, a proxy's word."""

MOST_DAYS = 90


class CredentialUse(msgspec.Struct, frozen=True):
    """So many requests of a principal with one kind of credential at one edge, up to ``last_at`` (Unix time)."""

    principal: Annotated[str, msgspec.Meta(max_length=320)]
    credential: Credential
    count: Annotated[int, msgspec.Meta(ge=1, le=2**40)]
    last_at: int


class ReportCredentials(msgspec.Struct, frozen=True):
    """``svc.auth.credential.used``: what was used at one edge since its last report."""

    edge: str
    uses: Annotated[tuple[CredentialUse, ...], msgspec.Meta(max_length=1000)]


class AskMigration(msgspec.Struct, frozen=True):
    """``svc.auth.credential.report``: of the last ``days``, for an administrator."""

    actor: Actor
    days: Annotated[int, msgspec.Meta(ge=1, le=MOST_DAYS)] = 30


class ClientCredentials(msgspec.Struct, frozen=True):
    """What one principal came with: requests by credential, and when it last came with a token alone (0: never).

    It is ``ready`` when it did not come with a token alone: it would not miss tokens.
    """

    principal: str
    token: int
    certificate: int
    both: int
    proxy: int
    last_token_at: int
    last_at: int
    ready: bool


class MigrationReport(msgspec.Struct, frozen=True):
    """Who is not ready first; ``since`` is the first day that counts (Unix time), ``more`` that some were left out."""

    since: int
    clients: tuple[ClientCredentials, ...]
    ready: int
    waiting: int
    more: bool = False

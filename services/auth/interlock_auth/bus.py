"""NATS in and out: which subject is which story, and how the stories reach the bus. No logic."""

import uuid

import msgspec
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from interlock_auth.assertions import Assertions
from interlock_auth.changing_tokens import ChangingTokens
from interlock_auth.keys import Keyring
from interlock_auth.principals import Principals
from interlock_auth.revocation import Revocations
from interlock_auth.token_uses import TokenUses
from interlock_auth.tokens import Tokens
from interlock_common import kv, telemetry
from interlock_common.audit_log import AuditLog
from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.errors import Unavailable
from interlock_common.messages import subjects
from interlock_common.messages.audit import Action
from interlock_common.messages.auth import (
    CreateToken,
    ListTokens,
    Login,
    MintAssertion,
    RevokeToken,
    RotateKey,
    UpdateToken,
)
from interlock_common.messages.common import ById
from interlock_common.messages.resources import (
    IDENTITIES,
    ISSUERS,
    PRINCIPALS,
    REVOCATIONS,
    SIGNING_KEYS,
    TOKEN_SCOPES,
    Bucket,
)
from interlock_common.messages.token_usage import ReportUses


def bind(
    bus: Bus, principals: Principals, tokens: Tokens, revocations: Revocations, keyring: Keyring, assertions: Assertions
) -> None:
    """Say which story answers which subject."""
    bus.endpoint(subjects.AUTH_LOGIN, Login, principals.login)
    bus.endpoint(subjects.AUTH_TOKEN_CREATE, CreateToken, tokens.create)
    bus.endpoint(subjects.AUTH_TOKEN_LIST, ListTokens, tokens.list)
    bus.endpoint(subjects.AUTH_TOKEN_REVOKE, RevokeToken, revocations.revoke)
    bus.endpoint(subjects.AUTH_TOKEN_ASSERTION, MintAssertion, assertions.mint)
    bus.endpoint(subjects.AUTH_KEY_ROTATE, RotateKey, keyring.rotate)


def bind_tokens(bus: Bus, changing: ChangingTokens, uses: TokenUses) -> None:
    """The same for what becomes of tokens once they are minted."""
    bus.endpoint(subjects.AUTH_TOKEN_GET, ById, changing.get)
    bus.endpoint(subjects.AUTH_TOKEN_UPDATE, UpdateToken, changing.update)
    bus.endpoint(subjects.AUTH_TOKEN_USAGE, ById, uses.usage)
    bus.endpoint(subjects.AUTH_TOKEN_USED, ReportUses, uses.report)


async def ensure_buckets(bus: Bus) -> None:
    """Create the buckets that auth owns where they are missing."""
    for bucket in (SIGNING_KEYS, PRINCIPALS, REVOCATIONS, TOKEN_SCOPES, ISSUERS, IDENTITIES):
        try:
            await kv.ensure_bucket(bus, bucket)
        except (NatsError, JetStreamError) as error:
            raise _away(bucket, error) from error


class BusOutlet:
    """The outlet of the stories, on the bus."""

    def __init__(self, bus: Bus, audit: AuditLog, clock: Clock) -> None:
        self._bus = bus
        self._audit = audit
        self._clock = clock

    async def put(self, bucket: Bucket, key: str, value: msgspec.Struct, ttl: float | None = None) -> int:
        try:
            return await kv.put(self._bus, bucket, key, value, ttl=ttl)
        except (NatsError, JetStreamError) as error:
            raise _away(bucket, error) from error

    async def delete(self, bucket: Bucket, key: str) -> None:
        try:
            await kv.delete(self._bus, bucket, key)
        except (NatsError, JetStreamError) as error:
            raise _away(bucket, error) from error

    async def event(self, subject: str, event: msgspec.Struct) -> None:
        try:
            await self._bus.publish_event(subject, event)
        except NatsError as error:
            raise Unavailable(f"event {subject} cannot be published: {type(error).__name__}") from error

    async def record(self, action: str, actor: str, target: str, **detail: object) -> None:
        await self._audit.record(self._action(action, actor, target, detail))

    def record_soon(self, action: str, actor: str, target: str, **detail: object) -> None:
        self._audit.record_soon(self._action(action, actor, target, detail))

    def _action(self, action: str, actor: str, target: str, detail: dict[str, object]) -> Action:
        trace_id, span_id = telemetry.current_ids()
        at = int(self._clock.time() * 1000)
        return Action(str(uuid.uuid4()), at, action, actor, target, detail, trace_id, span_id)


def _away(bucket: Bucket, error: Exception) -> Unavailable:
    return Unavailable(f"bucket {bucket.name} cannot be written at the moment: {type(error).__name__}")

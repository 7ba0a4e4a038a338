"""Joining by a Kubernetes service-account token: who runs as an account of the cluster is the identity that is set."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jwt
import msgspec
import structlog
from jwt.types import Options

from interlock_certs.errors import JoinRefused
from interlock_certs.jwks import KeySet, Source
from interlock_common.clock import Clock

_log = structlog.get_logger()
_MAX_TOKEN = 16 * 1024
_LEEWAY = 5
_LONGEST = 86400
"""Seconds from issue to expiry: a token that was bound to a pod for us is short-lived, a legacy one is not."""


@dataclass(frozen=True)
class Cluster:
    """Whose tokens count, for which audience, and which account (``namespace/name``) is which identity."""

    issuer: str
    audience: str
    keys: str
    identities: Mapping[str, str]
    ca_file: Path | None = None
    token_file: Path | None = None


class _Account(msgspec.Struct, frozen=True):
    name: str


class _Bound(msgspec.Struct, frozen=True):
    namespace: str
    serviceaccount: _Account


class _Claims(msgspec.Struct, frozen=True):
    sub: str
    exp: float
    iat: float
    bound: _Bound = msgspec.field(name="kubernetes.io")
    nbf: float = 0


class ServiceAccounts:
    """The service accounts of one cluster that may join."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._keys = KeySet(Source(cluster.keys, cluster.ca_file, cluster.token_file), clock)

    async def identity_of(self, token: str) -> str:
        """The identity of the account whose token this is.

        Raises JoinRefused with the rule that the token breaks; KeySetAway when nobody can tell.
        """
        try:
            return await self._checked(token)
        except JoinRefused as error:
            _log.warning("service-account token refused", reason=error.detail)
            raise

    async def _checked(self, token: str) -> str:
        if len(token) > _MAX_TOKEN:
            raise JoinRefused(f"the service-account token is over {_MAX_TOKEN} bytes")
        key = await self._keys.key(_key_id(token))
        claims = self._claims(token, key)
        now = self._clock.time()
        if now > claims.exp + _LEEWAY:
            raise JoinRefused("the service-account token has expired")
        if now < max(claims.nbf, claims.iat) - _LEEWAY:
            raise JoinRefused("the service-account token does not count yet: look at the clocks")
        if claims.exp - claims.iat > _LONGEST:
            raise JoinRefused(f"the service-account token counts for over {_LONGEST} s: use one that is bound to a pod")
        account = f"{claims.bound.namespace}/{claims.bound.serviceaccount.name}"
        if claims.sub != f"system:serviceaccount:{account.replace('/', ':', 1)}":
            raise JoinRefused("the service-account token names two accounts")
        identity = self._cluster.identities.get(account)
        if identity is None:
            raise JoinRefused(f"the service account {account} is no identity of KUBERNETES_IDENTITIES")
        return identity

    def _claims(self, token: str, key: jwt.PyJWK) -> _Claims:
        cluster = self._cluster
        options: Options = {
            "require": ["iss", "aud", "exp", "iat", "sub"],
            # Times are compared above, with our clock.
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
        }
        try:
            claims = jwt.decode(
                token, key, [str(key.algorithm_name)], options, audience=cluster.audience, issuer=cluster.issuer
            )
            return msgspec.convert(claims, _Claims)
        except jwt.InvalidAudienceError:
            raise JoinRefused(f"the service-account token is not for the audience {cluster.audience}") from None
        except jwt.InvalidIssuerError:
            raise JoinRefused(f"the service-account token is not of the issuer {cluster.issuer}") from None
        except jwt.InvalidSignatureError:
            raise JoinRefused("the signature of the service-account token is wrong") from None
        except (jwt.PyJWTError, msgspec.ValidationError, ValueError, TypeError, RecursionError):
            raise JoinRefused("this is no service-account token of a pod") from None


def _key_id(token: str) -> str:
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        kid = None
    if not isinstance(kid, str):
        raise JoinRefused("this is no service-account token: it names no key")
    return kid

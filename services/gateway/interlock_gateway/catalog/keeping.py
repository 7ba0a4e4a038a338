"""The secrets of registrations: sealed before they are stored, opened by nobody here but to be sealed again."""

import msgspec
import structlog

from interlock_common.messages.catalog import Secrets, Upstream
from interlock_common.sealing import SealBroken, Sealer
from interlock_gateway.catalog import registration
from interlock_gateway.catalog.errors import InvalidRegistration, SecretsNotKept

_log = structlog.get_logger()
_CREDENTIAL = "credential"
_ENVIRONMENT = "environment"


class Keeper:
    """Seals secrets, each bound to its upstream; without a ``sealer`` none can be taken."""

    def __init__(self, sealer: Sealer | None) -> None:
        self._sealer = sealer

    def keep(self, upstream: Upstream, secrets: Secrets, before: Upstream | None = None) -> Upstream:
        """``upstream`` with what is secret of it sealed.

        What is not given stays as it was ``before``, unless the kind of the credential changed; an empty value takes
        a secret away. Raises InvalidRegistration and SecretsNotKept.
        """
        registration.check_secrets(upstream.credential, secrets, upstream.command)
        if upstream.credential.kind == "oauth" and self._sealer is None:
            raise SecretsNotKept("grants of users cannot be kept: the catalog needs the setting AUTH_ENCRYPTION_SECRET")
        same_kind = before is not None and before.credential.kind == upstream.credential.kind
        sealed = before.credential.sealed if before is not None and same_kind else ""
        sealed, names = self._merged(_CREDENTIAL, upstream.id, sealed, secrets.credential)
        missing = registration.needed_secrets(upstream.credential) - names if names is not None else ()
        if missing:
            raise InvalidRegistration(
                f"a credential of the kind {upstream.credential.kind} needs the secret {min(missing)}",
                field="credential",
            )
        upstream = msgspec.structs.replace(
            upstream, credential=msgspec.structs.replace(upstream.credential, sealed=sealed)
        )
        if upstream.command is None:
            return upstream
        sealed = before.command.sealed_environment if before is not None and before.command is not None else ""
        sealed, _ = self._merged(_ENVIRONMENT, upstream.id, sealed, secrets.environment)
        command = msgspec.structs.replace(upstream.command, sealed_environment=sealed)
        return msgspec.structs.replace(upstream, command=command)

    def _merged(
        self, purpose: str, upstream_id: str, sealed: str, given: dict[str, str]
    ) -> tuple[str, frozenset[str] | None]:
        """What was sealed with what is given in its place, and the names in it; None where nobody looked."""
        if not given:
            return sealed, None if sealed else frozenset()
        if self._sealer is None:
            raise SecretsNotKept("secrets cannot be kept: the catalog needs the setting AUTH_ENCRYPTION_SECRET")
        context = upstream_id.encode()
        kept: dict[str, str] = {}
        if sealed:
            try:
                kept = msgspec.json.decode(self._sealer.open(purpose, sealed, context), type=dict[str, str])
            except (SealBroken, msgspec.DecodeError):  # what is given counts; the others are lost anyway
                _log.warning("stored secrets were sealed under another AUTH_ENCRYPTION_SECRET", upstream=upstream_id)
        kept = {name: value for name, value in (kept | given).items() if value}
        if not kept:
            return "", frozenset()
        return self._sealer.seal(purpose, msgspec.json.encode(kept), context), frozenset(kept)

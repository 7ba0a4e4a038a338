"""From a registered command to what is started: is it allowed, and what is its environment."""

from collections.abc import Collection

import msgspec

from interlock_common.messages.catalog import Command, Upstream
from interlock_common.sealing import SealBroken, Sealer
from interlock_common.stdio import CommandUnusable, Start, inherited_environment
from interlock_gateway.connector.errors import CommandNotAllowed, EnvironmentSealed

_PURPOSE = "environment"
_HARD = 2
"""The kernel's own bound on memory is this many times the registered one, which the warden holds them to."""


class Commands:
    """What may be run, and with which secrets; ``allowed`` empty allows whatever administrators registered.

    A name without a slash allows that name as it is found on the connector's own PATH, a path only that path.
    """

    def __init__(self, allowed: Collection[str], sealer: Sealer | None, *, max_line: int) -> None:
        self._allowed = allowed
        self._sealer = sealer
        self._max_line = max_line

    def start_of(self, upstream: Upstream) -> Start:
        """Raises CommandUnusable, CommandNotAllowed or EnvironmentSealed."""
        command = upstream.command
        if command is None or not command.argv or not command.argv[0]:
            raise CommandUnusable(f"upstream {upstream.name} has no command")
        if self._allowed and command.argv[0] not in self._allowed:
            raise CommandNotAllowed(f"CONNECTOR_COMMANDS does not allow {command.argv[0]!r}")
        secrets = self._opened(upstream, command)
        own = inherited_environment()
        environment = own | command.environment | secrets
        if self._allowed:
            environment["PATH"] = own.get("PATH", "")  # what is allowed by its name is what is found here
        return Start(
            name=upstream.name, argv=command.argv, environment=environment, directory=command.directory,
            secrets=tuple(secrets.values()), data=_HARD * command.memory, max_line=self._max_line,
        )  # fmt: skip

    def _opened(self, upstream: Upstream, command: Command) -> dict[str, str]:
        if not command.sealed_environment:
            return {}
        if self._sealer is None:
            raise EnvironmentSealed(
                f"the environment of {upstream.name} is sealed: AUTH_ENCRYPTION_SECRET is not set here"
            )
        try:
            content = self._sealer.open(_PURPOSE, command.sealed_environment, upstream.id.encode())
            return msgspec.json.decode(content, type=dict[str, str])
        except (SealBroken, msgspec.DecodeError):
            raise EnvironmentSealed(
                f"the environment of {upstream.name} was sealed under another AUTH_ENCRYPTION_SECRET"
            ) from None

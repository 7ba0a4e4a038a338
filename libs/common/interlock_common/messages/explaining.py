"""What is asked and answered about a decision of the edge: ``POST /admin/explain``."""

import msgspec

from interlock_common.messages.auth import Scopes


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """Would this token's holder, calling from ``address``, get through to that tool?

    ``certificate`` (PEM) is the client certificate that comes with the call, as one that the handshake has verified.
    """

    token: str
    tool: str
    server_id: str | None = None
    address: str | None = None
    certificate: str | None = None


class Rule(msgspec.Struct, frozen=True):
    """One rule, and what it says."""

    name: str
    passed: bool
    reason: str


class Explanation(msgspec.Struct, frozen=True):
    """The rules up to the one that decides; ``code`` is empty where the call would go through to the upstream."""

    allowed: bool
    code: str
    rules: tuple[Rule, ...]
    principal: str
    token_id: str
    teams: tuple[str, ...]
    scopes: Scopes | None

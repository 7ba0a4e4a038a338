"""``_meta`` of a request as it leaves for an upstream: the members its era asks for, and the trace (SEP-414)."""

import msgspec

from interlock_common import telemetry
from interlock_common.messages.catalog import Upstream
from interlock_common.messages.gateway import Session
from interlock_gateway.revisions import (
    META_CAPABILITIES,
    META_CLIENT,
    META_LOG_LEVEL,
    META_MODERN,
    META_VERSION,
    MODERN,
)

_encode = msgspec.json.encode
_VERSION = msgspec.Raw(_encode(MODERN))
_NOTHING = msgspec.Raw(b"{}")
_LEVEL_UNLESS_SET = "info"
"""What servers of the handshake era send to those who never said how much they want."""


def meta_for(
    upstream: Upstream, meta: dict[str, msgspec.Raw], session: tuple[str, Session] | None
) -> dict[str, msgspec.Raw]:
    """What a client said in ``_meta``, or said once for its whole session, as ``upstream`` is to be told."""
    meta = dict(meta)
    if upstream.era == "legacy":
        for key in META_MODERN:
            meta.pop(key, None)
        if session is not None:
            _say_level(meta, session[1].log_level)
    else:
        meta[META_VERSION] = _VERSION
        if session is None:
            meta.setdefault(META_CAPABILITIES, _NOTHING)
        else:
            record = session[1]
            meta[META_CAPABILITIES] = record.capabilities
            if bytes(record.client_info) != b"{}":
                meta[META_CLIENT] = record.client_info
            meta[META_LOG_LEVEL] = msgspec.Raw(_encode(record.log_level or _LEVEL_UNLESS_SET))
    for key, value in telemetry.inject({}).items():
        meta[key] = msgspec.Raw(_encode(value))
    return meta


def _say_level(meta: dict[str, msgspec.Raw], level: str) -> None:
    """What a session was set to, for whoever sets it at the upstream; it does not leave as it stands here."""
    meta.pop(META_LOG_LEVEL, None)
    if level:
        meta[META_LOG_LEVEL] = msgspec.Raw(_encode(level))

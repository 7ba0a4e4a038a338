"""The errors of the edge.

Unauthenticated
├── TokenMissing, TokenMalformed, TokenExpired, TokenRevoked
└── TokenRejected       signature, key, issuer or audience
PermissionDenied
└── ScopeMissing        the token or its principal lacks a permission
UpstreamFailed
├── UpstreamUnreachable
└── UpstreamMisbehaved  it answered, but not MCP
"""

from interlock_common.errors import PermissionDenied, Unauthenticated, UpstreamFailed


class TokenMissing(Unauthenticated):
    code = "token_missing"


class TokenMalformed(Unauthenticated):
    code = "token_malformed"


class TokenExpired(Unauthenticated):
    code = "token_expired"


class TokenRevoked(Unauthenticated):
    code = "token_revoked"


class TokenRejected(Unauthenticated):
    code = "token_rejected"


class ScopeMissing(PermissionDenied):
    code = "insufficient_scope"


class UpstreamUnreachable(UpstreamFailed):
    code = "upstream_unreachable"


class UpstreamMisbehaved(UpstreamFailed):
    code = "upstream_misbehaved"
    retryable = False

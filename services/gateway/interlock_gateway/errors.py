"""The errors of the edge.

Unauthenticated
├── TokenMissing, TokenMalformed, TokenExpired, TokenRevoked
└── TokenRejected       its principal does not count
    ├── TokenSignature, TokenIssuer, TokenAudience, TokenEnvironment
    └── TokenNotYetValid
PermissionDenied
├── ScopeMissing        the token or its principal lacks a permission
└── ScopeAddress, ScopeTime, ScopeUsedUp    the token is limited to other places and times, or is used up
TooManyRequests
└── ScopeUsage          the token has a limit of requests, and has reached it for now
UpstreamFailed
├── UpstreamUnreachable
└── UpstreamMisbehaved  it answered, but not MCP
"""

from interlock_common.errors import PermissionDenied, TooManyRequests, Unauthenticated, UpstreamFailed


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


class TokenSignature(TokenRejected):
    code = "token_signature"


class TokenIssuer(TokenRejected):
    code = "token_issuer"


class TokenAudience(TokenRejected):
    code = "token_audience"


class TokenEnvironment(TokenRejected):
    code = "token_environment"


class TokenNotYetValid(TokenRejected):
    code = "token_not_yet_valid"


class ScopeMissing(PermissionDenied):
    code = "insufficient_scope"


class ScopeAddress(PermissionDenied):
    code = "scope_ip"


class ScopeTime(PermissionDenied):
    code = "scope_time"


class ScopeUsedUp(PermissionDenied):
    code = "scope_usage"


class ScopeUsage(TooManyRequests):
    code = "scope_usage"


class UpstreamUnreachable(UpstreamFailed):
    code = "upstream_unreachable"


class UpstreamMisbehaved(UpstreamFailed):
    code = "upstream_misbehaved"
    retryable = False

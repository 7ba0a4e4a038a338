"""The errors of certs.

InvalidInput
└── RequestRejected     a certification request that breaks a rule
Unauthenticated
└── JoinRefused         a join token that is unknown, used, expired or another identity's
PermissionDenied
└── NotRenewable        an identity whose certificate only certs makes
ConfigurationError
├── AuthorityUnusable   the CA's files are incomplete, unreadable or do not belong together
└── DropUnusable        a folder for join tokens cannot be written
"""

from interlock_common.errors import ConfigurationError, InvalidInput, PermissionDenied, Unauthenticated


class RequestRejected(InvalidInput):
    code = "request_rejected"


class JoinRefused(Unauthenticated):
    code = "join_refused"


class NotRenewable(PermissionDenied):
    code = "not_renewable"


class AuthorityUnusable(ConfigurationError):
    code = "authority_unusable"


class DropUnusable(ConfigurationError):
    code = "drop_unusable"

"""The errors of certs.

InvalidInput
└── RequestRejected     a certification request that breaks a rule
Unauthenticated
└── JoinRefused         a join token that is unknown, used, expired or another identity's
ConfigurationError
└── AuthorityUnusable   the CA's files are incomplete, unreadable or do not belong together
"""

from interlock_common.errors import ConfigurationError, InvalidInput, Unauthenticated


class RequestRejected(InvalidInput):
    code = "request_rejected"


class JoinRefused(Unauthenticated):
    code = "join_refused"


class AuthorityUnusable(ConfigurationError):
    code = "authority_unusable"

"""The errors of certs.

InvalidInput
├── RequestRejected     a certification request that breaks a rule, or asks for more than its profile gives
└── WrongMediaType      a body that is not announced as what it must be
Unauthenticated
└── JoinRefused         a join token, a service-account token or a certificate that does not let anybody in
PermissionDenied
├── NotRenewable        an identity whose certificate only certs makes
└── IdentityRevoked     an identity that gets no leaf until it is reinstated
Conflict
└── StepRefused         a step of a rotation of the CA that is not the next one, or not safe yet
Unavailable
├── TokenAway           the PKCS#11 token does not answer
└── KeySetAway          the keys of the cluster cannot be had
InterlockError
└── NotOffered          a part of EST that is left out on purpose
ConfigurationError
├── AuthorityUnusable   the CA's files are incomplete, unreadable or do not belong together
│   ├── WrongPassphrase     a key file is encrypted with another passphrase, or with one where none is set
│   ├── KeyFileOpen         a key file that others may read
│   ├── KeyMismatch         a key and a certificate that are not a pair
│   ├── ChainBroken         a certificate that is not issued by the one above it, or is none of a CA
│   ├── ChainExpired        a CA certificate that has expired, or does not count yet
│   └── IssuingAwaited      the offline root has not signed the issuing CA yet
├── TokenUnusable       PKCS11_MODULE, PKCS11_TOKEN or PKCS11_PIN is wrong
├── ProfilesUnusable    PROFILES_FILE cannot be used
└── DropUnusable        a folder for join tokens cannot be written
"""

from interlock_common.errors import (
    ConfigurationError,
    Conflict,
    InterlockError,
    InvalidInput,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)


class RequestRejected(InvalidInput):
    code = "request_rejected"


class WrongMediaType(InvalidInput):
    status = 415
    code = "wrong_media_type"


class JoinRefused(Unauthenticated):
    code = "join_refused"


class NotRenewable(PermissionDenied):
    code = "not_renewable"


class IdentityRevoked(PermissionDenied):
    code = "identity_revoked"


class StepRefused(Conflict):
    code = "step_refused"


class TokenAway(Unavailable):
    code = "token_away"


class KeySetAway(Unavailable):
    code = "key_set_away"


class NotOffered(InterlockError):
    status = 501
    code = "not_offered"


class AuthorityUnusable(ConfigurationError):
    code = "authority_unusable"


class WrongPassphrase(AuthorityUnusable):
    code = "wrong_passphrase"


class KeyFileOpen(AuthorityUnusable):
    code = "key_file_open"


class KeyMismatch(AuthorityUnusable):
    code = "key_mismatch"


class ChainBroken(AuthorityUnusable):
    code = "chain_broken"


class ChainExpired(AuthorityUnusable):
    code = "chain_expired"


class IssuingAwaited(AuthorityUnusable):
    code = "issuing_awaited"


class TokenUnusable(ConfigurationError):
    code = "token_unusable"


class ProfilesUnusable(ConfigurationError):
    code = "profiles_unusable"


class DropUnusable(ConfigurationError):
    code = "drop_unusable"

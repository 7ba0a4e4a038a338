"""What auth refuses, and why.

InterlockError
├── InvalidInput
│   ├── LifetimeRefused     400  a token would live too long, or for ever
│   ├── NameRefused         400  a token needs a name people can tell it by
│   └── AudienceRefused     400  an assertion is for another audience than ours
├── Unauthenticated
│   └── LoginRefused        401  e-mail and password do not belong together
├── PermissionDenied
│   └── NotContained        403  a token would reach further than whoever mints it
├── NotFound
│   └── TokenNotFound       404  no such token, or not the actor's to know of
├── Conflict
│   └── KeyNotOurs          409  the signing key comes from outside, so it is rotated there
├── TooManyRequests
│   ├── LockedOut           429  too many failed logins for this e-mail
│   └── LoginsSaturated     429  more logins at once than password hashing can bear
└── ConfigurationError
    └── KeyUnusable          -   a key file is missing, open to others, or of the wrong kind
"""

from interlock_common.errors import (
    ConfigurationError,
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    TooManyRequests,
    Unauthenticated,
)


class LifetimeRefused(InvalidInput):
    code = "lifetime_refused"


class NameRefused(InvalidInput):
    code = "name_refused"


class AudienceRefused(InvalidInput):
    code = "audience_refused"


class LoginRefused(Unauthenticated):
    code = "login_refused"


class NotContained(PermissionDenied):
    code = "not_contained"


class TokenNotFound(NotFound):
    code = "token_not_found"


class KeyNotOurs(Conflict):
    code = "key_not_ours"


class LockedOut(TooManyRequests):
    code = "locked_out"


class LoginsSaturated(TooManyRequests):
    code = "logins_saturated"


class KeyUnusable(ConfigurationError):
    code = "key_unusable"

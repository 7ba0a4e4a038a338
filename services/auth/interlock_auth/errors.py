"""What auth refuses, and why.

InterlockError
├── InvalidInput
│   ├── LifetimeRefused     400  a token would live too long, or for ever
│   ├── NameRefused         400  a token needs a name people can tell it by
│   ├── ReportRefused       400  an edge tells of uses that cannot be
│   ├── AudienceRefused     400  an assertion is for another audience than ours
│   ├── SelectorRefused     400  a revocation names nobody, or a moment to come
│   ├── PasswordRefused     400  a new password breaks the rules for passwords
│   ├── PermissionUnknown   400  a role names a permission that does not exist
│   ├── IssuerRefused       400  an authorization server cannot be what it is said to be
│   ├── KeysUnusable        400  what should be public keys is none
│   └── NotAssignable       400  a role cannot be given there, or not to them
├── Unauthenticated
│   └── LoginRefused        401  e-mail and password do not belong together
│       └── ProviderLoginRefused    the provider did not say who it is, or nobody here is that
├── PermissionDenied
│   ├── NotContained        403  a token would reach further than whoever mints it
│   ├── PasswordMustChange  403  a password was reset, and opens nothing until it is changed
│   ├── NotPermitted        403  this needs a permission, or more than whom it is about holds
│   └── RegistrationClosed  403  people do not register themselves here
├── NotFound
│   ├── TokenNotFound       404  no such token, or not the actor's to know of
│   ├── UserNotFound        404  no such user
│   ├── TeamNotFound        404  no such team, member or invitation, or not the actor's to know of
│   ├── RoleNotFound        404  no such role
│   └── IssuerNotFound      404  no such authorization server, or no such identity of it
├── Conflict
│   ├── KeyNotOurs          409  the signing key comes from outside, so it is rotated there
│   ├── NameTaken           409  there is, or was, one of that name
│   ├── InUse               409  a role that someone has
│   ├── LastOwner           409  a team needs an owner
│   ├── LastAdministrator   409  the platform needs an active administrator
│   ├── IssuerFromFile      409  an authorization server of the file of settings changes there
│   └── SecretsNotKept      409  a secret was given, and AUTH_ENCRYPTION_SECRET is not set
├── TooManyRequests
│   ├── LockedOut           429  too many failed logins for this e-mail
│   └── LoginsSaturated     429  more logins at once than can be borne
├── UpstreamFailed
│   └── ProviderUnreachable 502  an authorization server did not answer, or may not be asked
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
    UpstreamFailed,
)


class LifetimeRefused(InvalidInput):
    code = "lifetime_refused"


class NameRefused(InvalidInput):
    code = "name_refused"


class ReportRefused(InvalidInput):
    code = "report_refused"


class AudienceRefused(InvalidInput):
    code = "audience_refused"


class PasswordRefused(InvalidInput):
    code = "password_refused"


class PermissionUnknown(InvalidInput):
    code = "permission_unknown"


class NotAssignable(InvalidInput):
    code = "not_assignable"


class IssuerRefused(InvalidInput):
    code = "issuer_refused"


class KeysUnusable(InvalidInput):
    code = "keys_unusable"


class SelectorRefused(InvalidInput):
    code = "selector_refused"


class LoginRefused(Unauthenticated):
    code = "login_refused"


class ProviderLoginRefused(LoginRefused):
    code = "provider_login_refused"


class NotContained(PermissionDenied):
    code = "not_contained"


class PasswordMustChange(PermissionDenied):
    code = "password_must_change"


class NotPermitted(PermissionDenied):
    code = "not_permitted"


class RegistrationClosed(PermissionDenied):
    code = "registration_closed"


class TokenNotFound(NotFound):
    code = "token_not_found"


class UserNotFound(NotFound):
    code = "user_not_found"


class TeamNotFound(NotFound):
    code = "team_not_found"


class RoleNotFound(NotFound):
    code = "role_not_found"


class IssuerNotFound(NotFound):
    code = "issuer_not_found"


class KeyNotOurs(Conflict):
    code = "key_not_ours"


class NameTaken(Conflict):
    code = "name_taken"


class InUse(Conflict):
    code = "in_use"


class LastOwner(Conflict):
    code = "last_owner"


class LastAdministrator(Conflict):
    code = "last_administrator"


class IssuerFromFile(Conflict):
    code = "issuer_from_file"


class SecretsNotKept(Conflict):
    code = "secrets_not_kept"


class LockedOut(TooManyRequests):
    code = "locked_out"


class LoginsSaturated(TooManyRequests):
    code = "logins_saturated"


class ProviderUnreachable(UpstreamFailed):
    code = "provider_unreachable"


class KeyUnusable(ConfigurationError):
    code = "key_unusable"

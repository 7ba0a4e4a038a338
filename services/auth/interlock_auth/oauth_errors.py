"""What the authorization server refuses, by the error codes of OAuth.

InvalidInput
├── InvalidRequest            400  RFC 6749, sections 4.1.2.1 and 5.2
├── InvalidGrant              400  the code or refresh token does not count, or not for this client
├── InvalidScope              400  a scope that does not exist, or that widens what was granted
├── InvalidTarget             400  RFC 8707: the resource is none of ours
├── UnauthorizedClient        400  the client may not use this grant type
├── UnsupportedGrantType      400
├── InvalidClientMetadata     400  RFC 7591, section 3.2.2
│   └── InvalidRedirectUri    400
└── ClientUnknown             400  at the authorization endpoint: nobody is sent anywhere
Unauthenticated
├── InvalidClient             401  the client did not show who it is
└── SessionEnded              401  the browser has no session that counts
PermissionDenied
└── RegistrationOff           403  clients do not register themselves here
TooManyRequests
├── RegistrationsSaturated    429  more clients than there may be, or too many at once
└── AssertionsSaturated       429  more assertions of clients than can be remembered
NotFound
└── ClientNotFound            404
"""

from interlock_common.errors import InvalidInput, NotFound, PermissionDenied, TooManyRequests, Unauthenticated


class InvalidRequest(InvalidInput):
    code = "invalid_request"


class InvalidGrant(InvalidInput):
    code = "invalid_grant"


class InvalidScope(InvalidInput):
    code = "invalid_scope"


class InvalidTarget(InvalidInput):
    code = "invalid_target"


class UnauthorizedClient(InvalidInput):
    code = "unauthorized_client"


class UnsupportedGrantType(InvalidInput):
    code = "unsupported_grant_type"


class InvalidClientMetadata(InvalidInput):
    code = "invalid_client_metadata"


class InvalidRedirectUri(InvalidClientMetadata):
    code = "invalid_redirect_uri"


class ClientUnknown(InvalidInput):
    code = "client_unknown"


class InvalidClient(Unauthenticated):
    code = "invalid_client"


class SessionEnded(Unauthenticated):
    code = "session_ended"


class RegistrationOff(PermissionDenied):
    code = "client_registration_off"


class RegistrationsSaturated(TooManyRequests):
    code = "client_registrations_saturated"


class AssertionsSaturated(TooManyRequests):
    code = "client_assertions_saturated"


class ClientNotFound(NotFound):
    code = "client_not_found"

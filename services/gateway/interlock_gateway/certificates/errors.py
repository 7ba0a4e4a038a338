"""Why a certificate, or what a proxy says, is not believed.

Unauthenticated
├── CertificateUnreadable   what was shown as a certificate is none
├── CertificateRefused      it is one, and does not count
│   ├── CertificateExpired, CertificateRevoked, CertificatePinned
│   ├── CertificateStatusUnknown    nobody can say at the moment whether it is revoked
│   └── IdentityUnknown     it names no principal of ours, or more than one
├── TokenBound              the token is bound to a certificate that was not shown
├── CredentialsDisagree     what was shown names different principals
├── TokensOff               tokens are not taken at this endpoint
├── ProxyMisconfigured      a trusted proxy left out a header, or contradicts itself
└── ProxyVerifyFailed       the proxy says that the client's certificate did not verify
PermissionDenied
├── PolicyRefused           no policy lets this certificate do that
└── CrossSite               a page of another site asked with a credential that browsers add by themselves
"""

from interlock_common.errors import PermissionDenied, Unauthenticated


class CertificateUnreadable(Unauthenticated):
    code = "certificate_unreadable"


class CertificateRefused(Unauthenticated):
    code = "certificate_refused"


class CertificateExpired(CertificateRefused):
    code = "certificate_expired"


class CertificateRevoked(CertificateRefused):
    code = "certificate_revoked"


class CertificatePinned(CertificateRefused):
    code = "certificate_pin"


class CertificateStatusUnknown(CertificateRefused):
    code = "certificate_status_unknown"


class IdentityUnknown(CertificateRefused):
    code = "certificate_identity_unknown"


class TokenBound(Unauthenticated):
    code = "token_bound"


class CredentialsDisagree(Unauthenticated):
    code = "credentials_disagree"


class TokensOff(Unauthenticated):
    code = "tokens_off"


class ProxyMisconfigured(Unauthenticated):
    code = "proxy_misconfigured"


class ProxyVerifyFailed(Unauthenticated):
    code = "proxy_verify_failed"


class PolicyRefused(PermissionDenied):
    code = "certificate_policy"


class CrossSite(PermissionDenied):
    code = "cross_site"

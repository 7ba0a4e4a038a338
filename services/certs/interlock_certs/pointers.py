"""What a leaf says about where its revocation is told: CRL distribution point and authority information access."""

from collections.abc import Callable, Sequence

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID


def pointers_to(url: str) -> Callable[[str], Sequence[x509.ExtensionType]]:
    """The extensions for leaves of an issuing CA, by its key id; none where no address is set."""
    base = url.rstrip("/")

    def pointers(issuer: str) -> Sequence[x509.ExtensionType]:
        if not base:
            return ()
        crl = x509.DistributionPoint([_uri(f"{base}/crl/{issuer}.crl")], None, None, None)
        access = (
            x509.AccessDescription(AuthorityInformationAccessOID.OCSP, _uri(f"{base}/ocsp")),
            x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, _uri(f"{base}/ca/{issuer}.crt")),
        )
        return x509.CRLDistributionPoints([crl]), x509.AuthorityInformationAccess(access)

    return pointers


def _uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)

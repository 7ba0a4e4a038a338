"""Whether a certificate is signed by a CA that one has, and in words why not."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from interlock_cli.certificates.below import is_issued_by

_SECOND = timedelta(seconds=1)
_MAX_DEPTH = 8


def is_self_signed(certificate: x509.Certificate) -> bool:
    return certificate.subject == certificate.issuer and is_issued_by(certificate, certificate)


def chain_problem(
    chain: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate], moment: datetime
) -> str | None:
    """Why the leaf, first of ``chain``, does not lead to one of ``anchors``; None where it does.

    Whether the leaf has expired is another question: it is asked as of a moment at which the leaf counted.
    """
    leaf, *intermediates = chain
    moment = min(max(moment, leaf.not_valid_before_utc), leaf.not_valid_after_utc - _SECOND)
    for_all = ExtensionPolicy.permit_all()
    for_cas = for_all.require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    verifier = (
        PolicyBuilder()
        .store(Store(list(anchors)))
        .time(moment)
        .max_chain_depth(_MAX_DEPTH)
        .extension_policies(ca_policy=for_cas, ee_policy=for_all)
        .build_client_verifier()
    )
    try:
        verifier.verify(leaf, intermediates)
    except (VerificationError, UnsupportedAlgorithm, ValueError) as error:
        return _in_words(leaf, [*intermediates, *anchors], moment) or f"the chain does not hold: {error}"
    return None


def _in_words(leaf: x509.Certificate, others: Sequence[x509.Certificate], moment: datetime) -> str | None:
    """The usual reasons; the library's own words are for the others."""
    named = [each for each in others if each.subject == leaf.issuer]
    if not named:
        return f"its issuer {leaf.issuer.rfc4514_string()} is not there"
    signers = [each for each in named if is_issued_by(leaf, each)]
    if not signers:
        return f"it is not signed by this {leaf.issuer.rfc4514_string()}, but by another of the same name"
    if all(moment >= each.not_valid_after_utc for each in signers):
        return f"its issuer expired on {signers[0].not_valid_after_utc:%Y-%m-%d}"
    if not any(_is_ca(each) for each in signers):
        return f"its issuer {leaf.issuer.rfc4514_string()} is no CA"
    return None


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False

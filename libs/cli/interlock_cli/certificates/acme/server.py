"""The ACME server (RFC 8555) as it is talked to: one account, one order at a time, and its refusals in words."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from acme import client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWKEC
from josepy.util import ComparableECKey

from interlock_cli.certificates.acme.challenges import Proof, Responder
from interlock_cli.certificates.authority import signing_hash
from interlock_cli.certificates.errors import AcmeFailed
from interlock_cli.certificates.keys import PrivateKey
from interlock_cli.certificates.reading import read_certificates
from interlock_common.clock import SYSTEM_CLOCK

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
_USER_AGENT = "interlock"
_ORDER_SECONDS = 180
_MAX_CHAIN = 1024 * 1024


@dataclass(frozen=True)
class Account:
    """Who asks: a key, whom to write to, and for servers that know their customers a key of theirs."""

    key: ec.EllipticCurvePrivateKey
    email: str = ""
    agrees: bool = False
    eab_kid: str = ""
    eab_key: str = ""


class AcmeServer:
    """One server; every method raises AcmeFailed with what it said.

    The library's messages have fields that only exist when they run, hence ``Any``.
    """

    def __init__(self, url: str, account: Account, trusted: Path | None = None) -> None:
        if not url.startswith("https://"):
            raise AcmeFailed(f"an ACME server has an https address, not {url}")
        self.url = url
        self._account = account
        self._key = JWKEC(key=ComparableECKey(account.key))
        self._net = client.ClientNetwork(self._key, alg=ES256, user_agent=_USER_AGENT)
        if trusted is not None:
            read_certificates(trusted)  # requests would not say what is wrong with it
            self._net.session.verify = str(trusted)
            self._net.verify_ssl = str(trusted)  # pyright: ignore[reportAttributeAccessIssue] - requests takes a path
        with _in_words(url):
            self._client = client.ClientV2(client.ClientV2.get_directory(url, self._net), self._net)

    def close(self) -> None:
        self._net.session.close()

    def register(self) -> None:
        """The account of the key, made where there is none."""
        with _in_words(self.url):
            try:
                self._client.new_account(messages.NewRegistration(only_return_existing=True))
            except errors.ConflictError as known:
                self._net.account = messages.RegistrationResource(uri=known.location, body=messages.Registration())
            except messages.Error as error:
                if error.code != "accountDoesNotExist":
                    raise
                self._client.new_account(self._registration())

    def suggested_renewal(self, leaf: x509.Certificate) -> datetime | None:
        """When the server would like it renewed (RFC 9773); None where it does not say."""
        try:
            moment, _ = self._client.renewal_time(leaf.public_bytes(Encoding.PEM))
        except (errors.Error, ValueError):
            return None
        return moment

    def issue(self, names: Sequence[x509.GeneralName], key: PrivateKey, responder: Responder) -> bytes:
        """A chain for the key, leaf first, once every name is proven to be ours."""
        deadline = _naive(SYSTEM_CLOCK.now() + timedelta(seconds=_ORDER_SECONDS))
        with _in_words(self.url):
            order: Any = self._client.new_order(_request(names, key))
            proofs = [self._proof(each.body, responder.kind) for each in order.authorizations if _is_open(each)]
            with responder.answering(proofs):
                for proof in proofs:
                    self._client.answer_challenge(proof.challenge, proof.response)
                order = self._client.poll_authorizations(order, deadline)
            chain = self._client.finalize_order(order, deadline).fullchain_pem
        if len(chain) > _MAX_CHAIN:
            raise AcmeFailed(f"{self.url} sent a chain that is too large to be one")
        return chain.encode()

    def _registration(self) -> messages.NewRegistration:
        meta = self._client.directory.meta
        terms = meta.terms_of_service
        if terms and not self._account.agrees:
            raise AcmeFailed(f"{self.url} wants its terms agreed to, {terms}: say --agree-terms")
        binding = None
        if self._account.eab_kid:
            binding = messages.ExternalAccountBinding.from_data(
                self._key.public_key(), self._account.eab_kid, self._account.eab_key, self._client.directory
            )
        elif self._client.external_account_required():
            raise AcmeFailed(f"{self.url} takes known customers only: say --eab-kid, and the key in ACME_EAB_KEY")
        return messages.NewRegistration.from_data(
            email=self._account.email or None, terms_of_service_agreed=True, external_account_binding=binding
        )

    def _proof(self, authorization: Any, kind: str) -> Proof:
        name = str(authorization.identifier.value)
        for challenge in authorization.challenges:
            if challenge.chall.typ == kind:
                return Proof(name, challenge, self._key)
        offered = ", ".join(sorted(str(each.chall.typ) for each in authorization.challenges)) or "nothing"
        raise AcmeFailed(f"{self.url} does not offer {kind} for {name}, but {offered}")


@contextmanager
def _in_words(url: str) -> Generator[None]:
    try:
        yield
    except errors.ValidationError as error:
        raise AcmeFailed("; ".join(_failures(error))) from None
    except errors.IssuanceError as error:
        raise AcmeFailed(f"{url} does not issue the certificate: {error.error.detail}") from None
    except errors.TimeoutError:
        raise AcmeFailed(f"{url} did not come to an end within {_ORDER_SECONDS} s") from None
    except messages.Error as error:
        raise AcmeFailed(f"{url} refuses: {error.detail or error.typ}{_details(error)}") from None
    except requests.exceptions.SSLError as error:
        told = f"the certificate of {url} is not trusted: --server-ca FILE for your own CA ({_reason(error)})"
        raise AcmeFailed(told) from None
    except requests.RequestException as error:
        raise AcmeFailed(f"{url} does not answer: {_reason(error)}") from None
    except (errors.Error, JoseError, ValueError, KeyError) as error:
        raise AcmeFailed(f"{url} does not speak ACME: {_reason(error)}") from None


def _failures(error: errors.ValidationError) -> Generator[str]:
    failed: list[Any] = list(error.failed_authzrs)
    for authorization in failed:
        for challenge in authorization.body.challenges:
            if challenge.error is not None:
                name, kind = authorization.body.identifier.value, challenge.chall.typ
                yield f"{name} could not be proven by {kind}: {challenge.error.detail}"


def _details(error: Any) -> str:
    parts = [f"{each.identifier.value}: {each.detail}" for each in error.subproblems or () if each.identifier]
    return f" ({'; '.join(parts)})" if parts else ""


def _reason(error: BaseException) -> str:
    """The innermost cause: what wraps it repeats the address."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error)[:300] or type(error).__name__


def _is_open(authorization: Any) -> bool:
    return authorization.body.status == messages.STATUS_PENDING


def _request(names: Sequence[x509.GeneralName], key: PrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return builder.sign(key, signing_hash(key)).public_bytes(Encoding.PEM)


def _naive(moment: datetime) -> datetime:
    """The library compares deadlines with local time without a zone."""
    return moment.astimezone().replace(tzinfo=None)

"""What proxies say, in every form they say it in, and what is made of the rest."""

import base64
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from interlock_gateway.certificates.errors import (
    CertificateUnreadable,
    CredentialsDisagree,
    IdentityUnknown,
    ProxyMisconfigured,
    ProxyVerifyFailed,
)
from interlock_gateway.certificates.forwarded import last_element
from interlock_gateway.certificates.identity import IdentityRules
from interlock_gateway.certificates.proxy_headers import ProxyHeaders
from interlock_gateway.certificates.shown import Shown
from interlock_gateway.testing.certificates import ClientCa

CA = ClientCa()
CERTIFICATE = CA.issue("ada", organization="Engines", emails=("ada@example.com",))
DER = CERTIFICATE.public_bytes(Encoding.DER)
PEM = CERTIFICATE.public_bytes(Encoding.PEM).decode()
HEADERS = ProxyHeaders(IdentityRules("email,cn=*->*@example.com"))

FORMS = {
    "nginx": quote(PEM, safe=""),
    "nginx before 1.13.5": PEM.replace("\n", "\n\t").strip(),
    "HAProxy": base64.b64encode(DER).decode(),
    "a structured field": f":{base64.b64encode(DER).decode()}:",
    "one line": PEM.replace("\n", " "),
}


def read(**said: str) -> Shown | None:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in said.items()]
    return HEADERS.read(pairs)


def trouble(**said: str) -> BaseException | None:
    shown = read(**said)
    assert shown is not None
    assert shown.certificate is None
    assert shown.user is None
    return shown.trouble


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_certificate_is_read_in_the_form_of_each_proxy(form: str) -> None:
    shown = read(x_ssl_client_cert=form, x_ssl_client_verify="SUCCESS")
    assert shown is not None
    assert shown.trouble is None
    assert shown.certificate is not None
    assert shown.certificate.der == DER
    assert (shown.vouched, shown.organization) == (True, "Engines")


def test_envoy_passes_it_on_in_the_last_element() -> None:
    forged = CA.issue("root").public_bytes(Encoding.PEM).decode()
    header = (
        f'By=spiffe://x/front;Hash=00;Cert="{quote(forged)}";Subject="CN=root",'
        f'Hash=11;Subject="CN=ada,O=\\"Engines\\"";URI=spiffe://x/ada;Cert="{quote(PEM, safe="")}"'
    )
    shown = read(x_forwarded_client_cert=header)
    assert shown is not None
    assert shown.certificate is not None
    assert shown.certificate.common_name == "ada"


@pytest.mark.parametrize(
    "verify", ["FAILED:certificate has expired", "NONE", "GENEROUS", "SUCCESSFUL", "0", "SUCCESS,x"]
)
def test_anything_but_success_does_not_authenticate(verify: str) -> None:
    for said in (
        {"x_ssl_client_cert": FORMS["nginx"]},
        {"x_ssl_client_s_dn_cn": "ada"},
        {"x_authenticated_user": "ada@example.com"},
    ):
        assert isinstance(trouble(**said, x_ssl_client_verify=verify), ProxyVerifyFailed)


def test_a_client_without_a_certificate_shows_nothing() -> None:
    assert read(x_ssl_client_verify="NONE") is None
    assert read(x_ssl_client_cert="", x_ssl_client_verify="NONE", x_authenticated_user="") is None


@pytest.mark.parametrize(
    ("said", "header"),
    [
        ({"x_ssl_client_cert": FORMS["HAProxy"]}, "X-SSL-Client-Verify"),
        ({"x_ssl_client_s_dn": "CN=ada"}, "X-SSL-Client-Verify"),
        ({"x_ssl_client_verify": "SUCCESS"}, "X-SSL-Client-Cert"),
        ({"x_forwarded_client_cert": "Hash=00;Subject=x"}, "X-Forwarded-Client-Cert"),
        ({"x_forwarded_client_cert": "?;"}, "X-Forwarded-Client-Cert"),
        ({"x_ssl_client_s_dn": "nonsense", "x_ssl_client_verify": "SUCCESS"}, "X-SSL-Client-S-DN"),
        ({"x_authenticated_user": "x" * 2000}, "X-Authenticated-User"),
        ({"x_authenticated_user": "ada\x07"}, "X-Authenticated-User"),
    ],
)
def test_a_proxy_that_is_wrongly_set_up_is_told_by_which_header(said: dict[str, str], header: str) -> None:
    error = trouble(**said)
    assert isinstance(error, ProxyMisconfigured)
    assert header in error.detail
    assert error.fields["header"] == header


def test_a_header_that_comes_twice_is_not_believed() -> None:
    shown = HEADERS.read(
        [(b"x-authenticated-user", b"ada@example.com"), (b"x-authenticated-user", b"root@example.com")]
    )
    assert shown is not None
    assert isinstance(shown.trouble, ProxyMisconfigured)


@pytest.mark.parametrize(
    ("said", "user", "organization"),
    [
        ({"x_authenticated_user": "ada@example.com", "x_user_organization": "Engines"}, "ada@example.com", "Engines"),
        ({"x_ssl_client_s_dn_cn": "ada", "x_ssl_client_verify": "SUCCESS"}, "ada@example.com", None),
        ({"x_ssl_client_s_dn": "CN=ada,O=Engines", "x_ssl_client_verify": "SUCCESS"}, "ada@example.com", "Engines"),
        (
            {"x_ssl_client_s_dn": "/C=GB/O=Engines/CN=ada", "x_ssl_client_verify": "SUCCESS"},
            "ada@example.com",
            "Engines",
        ),
        (
            {"x_ssl_client_s_dn": "emailAddress=ada@x,CN=ada,O=Engines", "x_ssl_client_verify": "SUCCESS"},
            "ada@example.com",
            "Engines",
        ),
    ],
)
def test_a_proxy_can_name_a_client_without_passing_on_its_certificate(
    said: dict[str, str], user: str, organization: str | None
) -> None:
    assert read(**said) == Shown(user=user, organization=organization)


def test_a_client_that_writes_the_users_header_itself_is_nobody_else() -> None:
    said = {"x_ssl_client_verify": "SUCCESS", "x_authenticated_user": "root@example.com"}
    assert isinstance(trouble(**said, x_ssl_client_s_dn_cn="ada"), CredentialsDisagree)
    assert isinstance(trouble(**said, x_ssl_client_s_dn="CN=ada"), CredentialsDisagree)


def test_the_common_name_beside_a_certificate_is_its_own() -> None:
    said = {"x_ssl_client_cert": FORMS["nginx"], "x_ssl_client_verify": "SUCCESS", "x_ssl_client_s_dn_cn": "root"}
    assert isinstance(trouble(**said), ProxyMisconfigured)


def test_two_common_names_in_a_distinguished_name_are_none() -> None:
    assert read(x_ssl_client_s_dn="CN=ada,CN=root", x_ssl_client_verify="SUCCESS") is None
    assert read(x_ssl_client_s_dn="/CN=ada/CN=root", x_ssl_client_verify="SUCCESS") is None


def test_the_header_of_the_user_has_the_name_that_is_set() -> None:
    headers = ProxyHeaders(IdentityRules(), "X-Remote-User")
    assert headers.speaks(b"x-remote-user")
    assert headers.read([(b"x-remote-user", b"ada@example.com")]) == Shown(user="ada@example.com")
    assert headers.read([(b"x-authenticated-user", b"ada@example.com")]) is None
    assert headers.speaks(b"x-authenticated-user")


@pytest.mark.parametrize(
    "name", ["x-ssl-client-cert", "x-ssl-client-issuer", "x-forwarded-client-cert", "x-user-organization"]
)
def test_whatever_speaks_of_who_the_client_is_belongs_to_proxies(name: str) -> None:
    assert HEADERS.speaks(name.encode())
    assert not HEADERS.speaks(b"x-request-id")


_CERTIFICATES = st.one_of(
    st.binary(max_size=400),
    st.text(max_size=200).map(str.encode),
    st.binary(max_size=200).map(
        lambda der: quote(f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(der).decode()}").encode()
    ),
    st.integers(0, len(DER) - 1).map(lambda place: base64.b64encode(DER[:place] + b"\x00" + DER[place + 1 :])),
    st.integers(0, len(PEM)).map(lambda end: quote(PEM[:end]).encode()),
)


@given(_CERTIFICATES)
def test_whatever_stands_in_place_of_a_certificate_is_read_or_refused_in_words(text: bytes) -> None:
    shown = HEADERS.read([(b"x-ssl-client-cert", text), (b"x-ssl-client-verify", b"SUCCESS")])
    if shown is not None and shown.trouble is not None:
        assert isinstance(shown.trouble, CertificateUnreadable | ProxyMisconfigured)
        assert shown.certificate is None


_VALUES = st.one_of(
    st.binary(max_size=100), st.sampled_from([b"SUCCESS", b"ada", b"CN=ada", b"/CN=ada", b"NONE", b'Cert="%2B"'])
)
_NAMES = st.sampled_from([
    b"x-ssl-client-cert", b"x-ssl-client-verify", b"x-ssl-client-s-dn", b"x-ssl-client-s-dn-cn",
    b"x-forwarded-client-cert", b"x-authenticated-user", b"x-user-organization", b"x-ssl-client-serial",
])  # fmt: skip


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=8))
def test_no_mix_of_headers_crashes_or_names_somebody_without_success(pairs: list[tuple[bytes, bytes]]) -> None:
    shown = HEADERS.read(pairs)
    if shown is None or shown.trouble is not None:
        return
    said = dict(pairs)
    verify = said.get(b"x-ssl-client-verify", b"").strip().lower()
    assert verify in (b"success", b"")
    if verify == b"":
        assert shown.user is not None or shown.certificate is not None
        assert not any(said.get(name, b"").strip() for name in (b"x-ssl-client-cert", b"x-ssl-client-s-dn-cn"))


@given(st.binary(max_size=300))
def test_the_header_of_envoy_is_read_or_refused_in_words(header: bytes) -> None:
    try:
        found = last_element(header)
    except ProxyMisconfigured:
        return
    assert all(isinstance(value, bytes) for value in found.values())


def test_a_name_that_nobody_could_have_is_refused() -> None:
    headers = ProxyHeaders(IdentityRules("cn"))
    shown = headers.read([(b"x-ssl-client-s-dn-cn", b"a" * 400), (b"x-ssl-client-verify", b"SUCCESS")])
    assert shown is not None
    assert isinstance(shown.trouble, IdentityUnknown)

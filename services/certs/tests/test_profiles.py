from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock_certs.errors import ProfilesUnusable, RequestRejected
from interlock_certs.profile_files import read_profiles
from interlock_certs.profiles import ON_THE_BUS, Profile, Profiles
from interlock_certs.requests import read_request

DOMAIN = "interlock.test"
DAY = timedelta(days=1)
FRONT = Profile(
    90 * DAY,
    usages=frozenset({"server"}),
    dns=("gateway.example.com", "*.apps.example.com"),
    addresses=(ip_network("10.1.0.0/16"), ip_network("::1/128")),
    emails=("ops@example.com", "*@mail.example.com"),
    common_name=True,
)
PROFILES = Profiles(DOMAIN, {"service": Profile(DAY), "front": FRONT}, {"edge-*": "front"})


def own(identity: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(f"spiffe://{DOMAIN}/svc/{identity}")


def test_a_service_may_ask_for_its_own_name_and_no_other(csr: Any) -> None:
    assert PROFILES.grant("auth", read_request(csr(own("auth"), name="auth"))).names == ()
    with pytest.raises(RequestRejected, match=r"auth may not be called 'auth\.example\.com'"):
        PROFILES.grant("auth", read_request(csr(x509.DNSName("auth.example.com"))))


@pytest.mark.parametrize("identity", ["auth", "edge-1"])
@pytest.mark.parametrize("other", sorted(ON_THE_BUS - {"auth"}))
@pytest.mark.parametrize("kind", [x509.UniformResourceIdentifier, x509.DNSName, x509.RFC822Name])
def test_names_that_the_bus_would_take_for_another_service_are_refused(
    csr: Any, identity: str, other: str, kind: Any
) -> None:
    for name in (f"spiffe://{DOMAIN}/svc/{other}", f"SPIFFE://{DOMAIN}/svc/{other}"):
        with pytest.raises(RequestRejected, match="that is the name of another identity"):
            PROFILES.grant(identity, read_request(csr(kind(name))))


def test_a_subject_that_names_somebody_else_is_refused(csr: Any) -> None:
    with pytest.raises(RequestRejected, match="the subject of the request says 'bus-admin'; who asks is auth"):
        PROFILES.grant("auth", read_request(csr(name="bus-admin")))
    host = x509.DNSName("gateway.example.com")
    assert PROFILES.grant("edge-1", read_request(csr(host, name="gateway.example.com"))).common_name == "edge-1"


@pytest.mark.parametrize(
    "name",
    [
        x509.DNSName("gateway.example.com"),
        x509.DNSName("Shop.Apps.example.com"),
        x509.DNSName("*.apps.example.com"),
        x509.IPAddress(ip_address("10.1.2.3")),
        x509.IPAddress(ip_address("::1")),
        x509.RFC822Name("ops@example.com"),
        x509.RFC822Name("ada@mail.example.com"),
    ],
    ids=lambda name: str(name.value),
)
def test_names_of_the_profile_are_granted(csr: Any, name: x509.GeneralName) -> None:
    grant = PROFILES.grant("edge-1", read_request(csr(name, own("edge-1"))))
    assert grant.names == (name,)
    assert (grant.lifetime, grant.usages, grant.common_name) == (90 * DAY, {"server"}, "edge-1")


@pytest.mark.parametrize(
    "name",
    [
        x509.DNSName("example.com"),
        x509.DNSName("a.b.apps.example.com"),
        x509.DNSName(".apps.example.com"),
        x509.DNSName("*.*.apps.example.com"),
        x509.DNSName("*.example.com"),
        x509.DNSName("gateway.example.com\x00.evil.example"),
        x509.IPAddress(ip_address("10.2.0.1")),
        x509.RFC822Name("root@example.com"),
        x509.UniformResourceIdentifier("https://gateway.example.com"),
        x509.DirectoryName(x509.Name([])),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
        x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x04\x00"),
    ],
    ids=repr,
)
def test_names_beyond_the_profile_are_refused(csr: Any, name: x509.GeneralName) -> None:
    with pytest.raises(RequestRejected, match="its profile does not grant it"):
        PROFILES.grant("edge-1", read_request(csr(name)))


def test_usages_beyond_the_profile_are_refused(csr: Any) -> None:
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    with pytest.raises(RequestRejected, match="edge-1 may not have the usage clientAuth"):
        PROFILES.grant("edge-1", read_request(csr(extensions=[(both, False)])))
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    assert PROFILES.grant("auth", read_request(csr(extensions=[(server, False)]))).usages == {"server"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(host=st.text(st.characters(codec="ascii"), max_size=80))
def test_no_host_name_leads_out_of_the_profile(csr: Any, host: str) -> None:
    try:
        grant = PROFILES.grant("edge-1", read_request(csr(x509.DNSName(host))))
    except RequestRejected:
        return
    assert [name.value for name in grant.names] == [host]
    assert host.casefold() == "gateway.example.com" or host.casefold().endswith(".apps.example.com")


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_profiles_come_from_a_file(csr: Any, tmp_path: Path) -> None:
    file = written(tmp_path / "profiles.yaml", """
profiles:
  front: {lifetime: 604800, usages: [server], dns: ["*.example.com"], addresses: [10.0.0.0/8], common_name: true}
identities:
  nginx: front
  "plugin-*": front
""")  # fmt: skip
    profiles = read_profiles(file, DOMAIN, DAY)
    for identity in ("nginx", "plugin-7"):
        assert profiles.of(identity).lifetime == 7 * DAY
        assert profiles.grant(identity, read_request(csr(x509.DNSName("a.example.com")))).names
    for identity in ("auth", "unknown"):
        assert profiles.of(identity) == Profile(DAY)


def test_without_a_file_everybody_is_a_service() -> None:
    assert read_profiles(None, DOMAIN, DAY).of("operator") == Profile(DAY)


def test_a_pattern_never_covers_who_is_on_the_bus() -> None:
    assert Profiles(DOMAIN, PROFILES.known, {"*": "front"}).of("auth") == Profile(DAY)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "Expected `object`"),
        ("profiles: {front: {lifetime: 1}}", "lifetime"),
        ("profiles: {front: {live: 1}}", "live"),
        ("profiles: {front: {usages: [ca]}}", "usages"),
        ("profiles: {front: {dns: ['*']}}", "no pattern of a name"),
        ("profiles: {front: {dns: ['a.*.b']}}", "no pattern of a name"),
        ("profiles: {front: {emails: ['*']}}", "no pattern of a name"),
        ("profiles: {front: {addresses: [10.0.0.1/8]}}", "has host bits set"),
        ("profiles: {service: {}}", "service is built in"),
        ("identities: {nginx: front}", "the profile front, which is not there"),
        ("profiles: {front: {}}\nidentities: {auth: front}", "auth is on the bus"),
        ("{", "PROFILES_FILE"),
        ("a: &a [*a]", "PROFILES_FILE"),
    ],
)
def test_a_file_that_is_not_understood_stops_the_start(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ProfilesUnusable) as refused:
        read_profiles(written(tmp_path / "profiles.yaml", text), DOMAIN, DAY)
    assert why in refused.value.detail
    assert "profiles.yaml" in refused.value.detail


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ProfilesUnusable, match="cannot be read: No such file"):
        read_profiles(tmp_path / "profiles.yaml", DOMAIN, DAY)

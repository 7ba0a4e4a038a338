import pytest

from interlock_common.errors import ConfigurationError
from interlock_gateway.guard.client_address import TrustedProxies, limited_address

PROXIES = TrustedProxies("10.0.0.0/8, 2001:db8:aaaa::/48")


def client(*forwarded: str, peer: str = "10.0.0.1") -> str:
    return PROXIES.client(peer, [(b"x-forwarded-for", each.encode()) for each in forwarded])


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, 10.1.2.3"], "203.0.113.9"),
        (["198.51.100.1", "203.0.113.9", "10.1.2.3"], "203.0.113.9"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["[2001:db8:1::5]:4711"], "2001:db8:1::5"),
        (["203.0.113.9, 2001:db8:aaaa::7"], "203.0.113.9"),
        (["10.9.9.9, 10.1.2.3"], "10.9.9.9"),
        ([], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["127.0.0.1, unknown"], "10.0.0.1"),
        (["127.0.0.1, _hidden, 10.1.2.3"], "10.1.2.3"),
        (["1.2.3.4, " + "10.1.1.1, " * 50 + "10.1.1.1"], "10.1.1.1"),
    ],
)
def test_the_right_most_address_that_is_no_proxy_is_the_client(forwarded: list[str], expected: str) -> None:
    assert client(*forwarded) == expected


def test_only_the_networks_named_are_trusted() -> None:
    assert [PROXIES.trusts(peer) for peer in ("10.255.0.1", "::ffff:10.0.0.1", "2001:db8:aaaa::1")] == [True] * 3
    assert [PROXIES.trusts(peer) for peer in ("11.0.0.1", "2001:db8:aaab::1", "unix", "")] == [False] * 4
    assert (PROXIES.known, TrustedProxies("").known) == (True, False)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy.internal", "10.0.0.0/33"])
def test_what_is_no_network_names_the_setting(text: str) -> None:
    with pytest.raises(ConfigurationError, match="TRUSTED_PROXIES"):
        TrustedProxies(text)


@pytest.mark.parametrize(
    ("said", "https"), [(b"https", True), (b"http, HTTPS", True), (b"https, http", False), (b"", False)]
)
def test_the_nearest_proxy_says_whether_it_got_the_request_over_tls(said: bytes, https: bool) -> None:
    assert PROXIES.is_https([(b"x-forwarded-proto", said)]) is https


def test_a_site_of_ipv6_is_one_client() -> None:
    assert limited_address("2001:db8:1:2:aaaa::1") == limited_address("2001:db8:1:2:bbbb::2") == "2001:db8:1:2::/64"
    assert limited_address("2001:db8:1:3::1") != limited_address("2001:db8:1:2::1")
    assert [limited_address(each) for each in ("192.0.2.1", "::ffff:192.0.2.1", "not:an:address")] == [
        "192.0.2.1", "192.0.2.1", "not:an:address",
    ]  # fmt: skip

from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from interlock_common.errors import ConfigurationError
from interlock_gateway.testing.servers import result_of
from interlock_gateway.testing.upstreams import all_of, http_over, request_to, ways_within
from interlock_gateway.upstreams.addresses import AddressForbidden, AddressPolicy


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254", "168.63.129.16",
     "100.100.100.200", "fe80::a9fe:a9fe%eth0"],
)  # fmt: skip
def test_metadata_services_are_reached_only_when_they_are_listed_themselves(address: str) -> None:
    assert not AddressPolicy().allows(address)
    assert not AddressPolicy(allow_private=True).allows(address)
    listed = "169.254.169.254, fd00:ec2::254,168.63.129.16/32,100.100.100.200,fe80::/10"
    assert AddressPolicy.of(allow_private=False, allowed=listed).allows(address)


def test_listed_networks_are_allowed_and_others_are_not() -> None:
    policy = AddressPolicy.of(allow_private=False, allowed="10.1.0.0/16, fd12::/16,192.168.7.7")
    assert policy.allows("10.1.2.3")
    assert policy.allows("::ffff:10.1.2.3")
    assert policy.allows("fd12::5")
    assert policy.allows("192.168.7.7")
    assert policy.allows("8.8.8.8")
    assert not policy.allows("10.2.0.1")
    assert not policy.allows("127.0.0.1")
    with pytest.raises(AddressForbidden):
        policy.check(URL("http://10.2.0.1/"))
    policy.check(URL("http://10.1.2.3/"))


@pytest.mark.parametrize("host", ["2852039166", "127.1", "0251.0376.0251.0376", "127.0.0.1.", "1.2.3.4.5"])
def test_figures_that_only_a_socket_takes_for_an_address_are_refused(host: str) -> None:
    for policy in (AddressPolicy(), AddressPolicy(allow_private=True)):
        with pytest.raises(AddressForbidden):
            policy.check(URL(f"http://{host}/"))


@pytest.mark.parametrize("item", ["10.1.0.0/33", "10.1.2.3/16", "http://x", "a b", "*", "x/y"])
def test_a_list_that_cannot_be_read_is_a_start_up_error_that_names_the_setting(item: str) -> None:
    with pytest.raises(ConfigurationError, match="ALLOW_UPSTREAM_NETWORKS"):
        AddressPolicy.of(allow_private=False, allowed=f"10.0.0.0/8,{item}")


@pytest.mark.parametrize(("allowed", "passes"), [("localhost", True), ("127.0.0.0/8,::1", True), ("other", False)])
async def test_a_listed_host_may_be_at_any_address(serve: Any, allowed: str, *, passes: bool) -> None:
    async def handler(request: web.Request) -> web.Response:
        del request
        return web.Response(body=result_of(1), content_type="application/json")

    url = (await serve(handler)).replace("127.0.0.1", "localhost")
    ways = ways_within(AddressPolicy.of(allow_private=False, allowed=allowed))
    if passes:
        await all_of(http_over(ways), request_to(url))
    else:
        with pytest.raises(AddressForbidden):
            await all_of(http_over(ways), request_to(url))
    await ways.stop()

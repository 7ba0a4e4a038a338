import pytest

from interlock_common.errors import ConfigurationError
from interlock_gateway.certificates.errors import IdentityUnknown
from interlock_gateway.certificates.identity import IdentityRules
from interlock_gateway.testing.certificates import ClientCa

CA = ClientCa()
PEER = CA.peer(
    "ada", emails=("Ada@Example.com",), dns_names=("ada.svc.example.com",), uris=("spiffe://example.com/sa/indexer",)
)


@pytest.mark.parametrize(
    ("rules", "name"),
    [
        ("cn", "ada"),
        ("email", "ada@example.com"),
        ("dns", "ada.svc.example.com"),
        ("uri=spiffe://example.com/sa/*->*", "indexer"),
        ("dns=*.svc.example.com->*@example.com", "ada@example.com"),
        ("cn=*->*@example.com", "ada@example.com"),
        ("cn=ada->root@example.com", "root@example.com"),
        ("uri=spiffe://elsewhere/*->*, cn", "ada"),
        ("cn=eve->eve", None),
    ],
)
def test_a_rule_says_which_principal_a_certificate_names(rules: str, name: str | None) -> None:
    assert IdentityRules(rules).name(PEER) == name


def test_the_first_rule_that_fits_decides() -> None:
    assert IdentityRules("uri=spiffe://example.com/sa/*->*,email,cn").name(PEER) == "indexer"


def test_a_certificate_with_two_names_of_a_kind_names_nobody() -> None:
    peer = CA.peer("ada", emails=("ada@example.com", "root@example.com"))
    with pytest.raises(IdentityUnknown, match="several"):
        IdentityRules("email").name(peer)


def test_a_star_stands_for_something() -> None:
    assert IdentityRules("uri=spiffe://example.com/sa/indexer*->*").name(PEER) is None


@pytest.mark.parametrize("rules", ["", "subject", "cn=a*b*->*", "cn=ada->*", "=x"])
def test_a_rule_that_makes_no_sense_stops_the_start(rules: str) -> None:
    with pytest.raises(ConfigurationError, match="CLIENT_CERT_IDENTITY"):
        IdentityRules(rules)


def test_a_name_that_cannot_be_printed_names_nobody() -> None:
    with pytest.raises(IdentityUnknown):
        IdentityRules("cn").name(CA.peer("ada\nroot"))

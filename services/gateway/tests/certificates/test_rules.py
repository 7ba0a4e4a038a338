"""Pins and policies, out of their file."""

from dataclasses import replace
from pathlib import Path

import pytest

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.errors import ConfigurationError
from interlock_common.messages.auth import Scopes
from interlock_gateway.certificates.binding import Bindings
from interlock_gateway.certificates.errors import CertificatePinned, PolicyRefused
from interlock_gateway.certificates.following import Followed, read_bounded
from interlock_gateway.certificates.identities import Identities, Named
from interlock_gateway.certificates.peer import PeerCertificate
from interlock_gateway.certificates.rules import SETTING, CertificateRules, read_rules
from interlock_gateway.certificates.shown import Shown
from interlock_gateway.certificates.standing import RevokedCertificates, Standing
from interlock_gateway.testing.certificates import ClientCa

CA, OTHER_CA = ClientCa(), ClientCa("Other CA")
ADAS = CA.peer("ada", emails=("ada@example.com",), organization="Engines", uris=("spiffe://example.com/ada",))
OTHERS = OTHER_CA.peer("ada", emails=("ada@example.com",))


def rules(text: str) -> CertificateRules:
    return CertificateRules(read_rules(text.encode(), "rules.yaml"))


def named(peer: PeerCertificate = ADAS, applied: CertificateRules | None = None) -> Named:
    standing = Standing(SYSTEM_CLOCK, RevokedCertificates())
    identities = Identities(SYSTEM_CLOCK, standing, Bindings(standing), certificates_count=True, pins=applied)
    found = identities.named(Shown(peer))
    assert found is not None
    return found


def test_an_identity_counts_with_its_pinned_certificates_only() -> None:
    applied = rules(f"pins: {{Ada@example.com: ['sha256:{'0' * 64}', '{ADAS.fingerprint}']}}")
    assert named(ADAS, applied).principal == "ada@example.com"
    with pytest.raises(CertificatePinned):
        named(OTHERS, applied)
    with pytest.raises(CertificatePinned):
        applied.check("ada@example.com", None)


def test_an_identity_without_a_pin_passes_unless_pins_are_required_for_it() -> None:
    applied = rules("require_pins: ['*@partner.example', indexer]")
    applied.check("ada@example.com", ADAS)
    for principal in ("eve@partner.example", "indexer"):
        with pytest.raises(CertificatePinned, match="must have one"):
            applied.check(principal, ADAS)


@pytest.mark.parametrize(
    ("policy", "fits"),
    [
        ("{name: any}", True),
        ("{name: a, issuer: 'CN=Test Client CA'}", True),
        ("{name: a, issuer: 'CN=Other CA'}", False),
        ("{name: a, organization: 'Eng*'}", True),
        ("{name: a, organization: Ships}", False),
        ("{name: a, identity: '*@example.com', san: 'spiffe://example.com/*'}", True),
        ("{name: a, san: 'spiffe://elsewhere/*'}", False),
        ("{name: a, organization: Engines, issuer: 'CN=Other CA'}", False),
        ("{name: a, servers: [s1]}", True),
        ("{name: a, servers: [s2]}", False),
    ],
)
def test_a_policy_says_what_a_certificate_opens(policy: str, *, fits: bool) -> None:
    applied = rules(f"policies: [{policy}]")
    if fits:
        assert applied.narrowed(named(), Scopes(), "s1") == Scopes()
    else:
        with pytest.raises(PolicyRefused):
            applied.narrowed(named(), Scopes(), "s1")


def test_without_policies_everything_is_open_and_with_an_empty_list_nothing() -> None:
    assert rules("").narrowed(named(), Scopes(), None) == Scopes()
    with pytest.raises(PolicyRefused):
        rules("policies: []").narrowed(named(), Scopes(), None)


def test_policies_narrow_and_never_widen() -> None:
    applied = rules(
        "policies: [{name: a, permissions: [tools.read, tools.execute]}, {name: b, servers: [s1], permissions: ['*']}]"
    )
    assert set(applied.narrowed(named(), Scopes(), None).permissions) == {"tools.read", "tools.execute"}
    assert applied.narrowed(named(), Scopes(), "s1") == Scopes()
    token = Scopes(permissions=("tools.execute", "admin.system_config"), server_id="s2")
    narrowed = applied.narrowed(named(), token, "s2")
    assert (narrowed.permissions, narrowed.server_id) == (("tools.execute",), "s2")
    with pytest.raises(PolicyRefused):
        applied.narrowed(named(), Scopes(permissions=("admin.system_config",)), None)


def test_who_a_proxy_names_without_a_certificate_fits_no_policy_about_issuers() -> None:
    applied = rules("policies: [{name: a, issuer: 'CN=*'}]")
    with pytest.raises(PolicyRefused):
        applied.narrowed(replace(named(), certificate=None), Scopes(), None)


@pytest.mark.parametrize(
    "text",
    ["pins: {ada: [abc]}", "pins: [ada]", "polices: []", "policies: [{name: a, permission: [x]}]",
     "policies: [{name: a, san: 'a*b*c'}]", "policies: [{}]", "- a", "{", "pins: {ada: ['sha256:00']}", "\x00",
     "a: &a [*a]"],
)  # fmt: skip
def test_a_file_that_could_mean_something_else_is_refused_in_words(text: str) -> None:
    with pytest.raises(ConfigurationError, match=SETTING):
        rules(text)


async def test_rules_are_read_again_when_they_change_and_unusable_ones_leave_those_before(tmp_path: Path) -> None:
    file, applied, told = tmp_path / "rules.yaml", CertificateRules(), list[str]()
    file.write_text("policies: []")

    followed = Followed(
        (file,), lambda: read_rules(read_bounded(file, SETTING, 10_000), str(file)), applied.take, SYSTEM_CLOCK
    )
    followed.changed = lambda: told.append("changed")
    assert not await followed.look()
    file.write_text("policies: [{name: all}]")
    assert await followed.look()
    assert applied.narrowed(named(), Scopes(), None) == Scopes()
    file.write_text("policies: nonsense")
    assert not await followed.look()
    file.unlink()
    assert not await followed.look()
    assert applied.narrowed(named(), Scopes(), None) == Scopes()
    assert told == ["changed"]


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=SETTING):
        read_bounded(tmp_path / "none.yaml", SETTING, 10)
    (tmp_path / "large.yaml").write_text("x" * 11)
    with pytest.raises(ConfigurationError, match="over 10 bytes"):
        read_bounded(tmp_path / "large.yaml", SETTING, 10)

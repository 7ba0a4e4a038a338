from pathlib import Path
from typing import Any

import pytest

from interlock_certs.config import Settings
from interlock_common.errors import ConfigurationError

BROUGHT = {"CA_ROOT_CERT_FILE": "root.pem", "CA_ISSUING_CHAIN_FILE": "chain.pem", "CA_ISSUING_KEY_FILE": "key.pem"}
KUBERNETES = {
    "KUBERNETES_ISSUER": "https://kubernetes",
    "KUBERNETES_JWKS": "/jwks.json",
    "KUBERNETES_IDENTITIES": "interlock/auth=auth, interlock/edge=nginx",
}


def loaded(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> Settings:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return Settings.load()


def test_the_files_of_a_brought_chain_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    brought = loaded(monkeypatch, BROUGHT).brought
    assert brought is not None
    assert brought.key == Path("key.pem")
    monkeypatch.delenv("CA_ISSUING_KEY_FILE")
    with pytest.raises(ConfigurationError, match="CA_ROOT_CERT_FILE, CA_ISSUING_CHAIN_FILE and CA_ISSUING_KEY_FILE"):
        Settings.load()


def test_a_cluster_is_told_by_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.load().cluster is None
    cluster = loaded(monkeypatch, KUBERNETES).cluster
    assert cluster is not None
    assert cluster.identities == {"interlock/auth": "auth", "interlock/edge": "nginx"}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"KUBERNETES_JWKS": ""}, "KUBERNETES_ISSUER needs KUBERNETES_JWKS"),
        ({"KUBERNETES_IDENTITIES": "auth=auth"}, "is not namespace/serviceaccount=identity"),
        ({"KUBERNETES_IDENTITIES": "a/b=bus-admin"}, "of an identity that may join"),
        ({"KUBERNETES_IDENTITIES": "a/b=certs"}, "of an identity that may join"),
        ({"CA_KEY_ALGORITHM": "rsa2048"}, "CA_KEY_ALGORITHM"),
        ({"CA_KEY_PASSPHRASE": "short"}, "CA_KEY_PASSPHRASE"),
        ({"CA_ROOT": "elsewhere"}, "CA_ROOT"),
        ({"JOIN_IDENTITIES": "auth,bus"}, "'bus' is no identity that may join"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_meant_stop_the_start(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        loaded(monkeypatch, KUBERNETES | wrong)


def test_secrets_of_the_ca_come_from_files_and_are_never_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets: dict[str, Any] = {"CA_KEY_PASSPHRASE": "correct horse battery", "PKCS11_PIN": "567890"}
    for name, value in secrets.items():
        (tmp_path / name).write_text(value + "\n")
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    settings = Settings.load()
    assert settings.ca_key_passphrase is not None
    assert settings.ca_key_passphrase.get_secret_value() == "correct horse battery"
    assert not any(value in repr(settings) for value in secrets.values())

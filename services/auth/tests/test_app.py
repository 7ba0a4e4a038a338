from pathlib import Path
from typing import Any

import pytest

from interlock_auth.__main__ import main
from interlock_auth.app import brought_key, serve, token_rules
from interlock_auth.config import Settings
from interlock_common.database import migrate
from interlock_common.errors import ConfigurationError


def settings(tmp_path: Path, **values: Any) -> Settings:
    return Settings.model_validate({"database_url": f"sqlite:///{tmp_path}/auth.db", **values})


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"platform_admin_password": "changeme"}, "well-known default"),
        ({}, "PLATFORM_ADMIN_PASSWORD must be set"),
        ({"jwt_algorithm": "HS256", "jwt_secret_key": "s" * 32}, "needs JWT_PUBLISH_SECRET=true"),
        ({"jwt_algorithm": "HS256", "jwt_secret_key": "s", "jwt_publish_secret": True}, "at least 32 characters"),
        ({"jwt_algorithm": "HS256", "jwt_publish_secret": True}, "needs JWT_SECRET_KEY"),
        ({"jwt_private_key_path": "/gone.pem"}, "JWT_PRIVATE_KEY_PATH /gone.pem cannot be read"),
        ({"external_issuers_file": "/gone.yaml"}, "EXTERNAL_ISSUERS_FILE /gone.yaml cannot be read"),
        ({"allow_issuer_networks": "10.0.0.0/99"}, "ALLOW_ISSUER_NETWORKS"),
    ],
)
async def test_a_bad_setting_ends_the_start_before_the_bus_is_joined(
    tmp_path: Path, values: dict[str, Any], complaint: str
) -> None:
    migrate(f"sqlite:///{tmp_path}/auth.db", "interlock_auth")
    with pytest.raises(ConfigurationError, match=complaint):
        await serve(settings(tmp_path, **values))


async def test_a_database_that_was_not_migrated_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"DATABASE_URL cannot be used .* migrate"):
        await serve(settings(tmp_path, platform_admin_password="x" * 12))


def test_the_environment_is_embedded_only_when_asked(tmp_path: Path) -> None:
    assert token_rules(settings(tmp_path)).environment is None
    embedding = settings(tmp_path, environment="staging", embed_environment_in_tokens=True)
    assert token_rules(embedding).environment == "staging"


def test_no_key_is_brought_by_default(tmp_path: Path) -> None:
    assert brought_key(settings(tmp_path)) is None


def test_migrating_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/auth.db")
    assert main(["migrate"]) == 0
    assert main(["migrate"]) == 0
    assert main(["nonsense"]) == 2
    assert "usage:" in capsys.readouterr().err

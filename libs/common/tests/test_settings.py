from pathlib import Path

import pytest
from pydantic import SecretStr

from interlock_common.errors import ConfigurationError
from interlock_common.settings import ServiceSettings


class Settings(ServiceSettings):
    api_secret: SecretStr = SecretStr("none")
    workers: int = 2


def test_defaults_hold_where_nothing_is_set() -> None:
    settings = Settings.load()
    assert (settings.trust_domain, settings.workers, settings.environment) == ("interlock.local", 2, "production")


def test_the_environment_names_settings_in_upper_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERS", "7")
    monkeypatch.setenv("TRUST_DOMAIN", "example.org")
    settings = Settings.load()
    assert (settings.workers, settings.trust_domain) == (7, "example.org")


def test_a_setting_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret with spaces \r\n")
    monkeypatch.setenv("API_SECRET_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("API_SECRET", "")  # as compose files leave what is not set
    settings = Settings.load()
    assert settings.api_secret.get_secret_value() == "s3cret with spaces "
    assert "s3cret" not in repr(settings)


def test_the_environment_comes_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "workers").write_text("3")
    monkeypatch.setenv("WORKERS_FILE", str(tmp_path / "workers"))
    assert Settings.load().workers == 3
    monkeypatch.setenv("WORKERS", "4")
    assert Settings.load().workers == 4


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"x" * 70_000])
def test_a_file_that_cannot_be_used_is_named_with_its_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("API_SECRET_FILE", str(path))
    with pytest.raises(ConfigurationError) as refused:
        Settings.load()
    assert f"API_SECRET_FILE names {path}" in refused.value.detail


@pytest.mark.parametrize(
    ("name", "value"),
    [("WORKERS", "s3cret-a"), ("ENVIRONMENT", "s3cret-b"), ("TRUST_DOMAIN", "s3cret C"), ("HEALTH_PORT", "999999")],
)
def test_a_bad_setting_is_named_and_its_value_is_not(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refused:
        Settings.load()
    assert name in refused.value.detail
    assert value not in refused.value.detail
    assert refused.value.__cause__ is None


def test_all_bad_settings_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERS", "many")
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    with pytest.raises(ConfigurationError, match=r"LOG_LEVEL.*WORKERS"):
        Settings.load()


def test_settings_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    del monkeypatch
    settings = Settings.load()
    with pytest.raises(ValueError, match="frozen"):
        settings.workers = 3

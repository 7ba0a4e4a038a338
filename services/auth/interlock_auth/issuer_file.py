"""The file of settings that names authorization servers (EXTERNAL_ISSUERS_FILE): YAML, read at each start."""

from pathlib import Path
from typing import Any, cast

import msgspec
import yaml

from interlock_auth.errors import IssuerRefused
from interlock_auth.issuer_settings import MAX_ISSUERS, IssuerRules
from interlock_common.errors import ConfigurationError
from interlock_common.messages.issuers import IssuerSettings

_MAX_BYTES = 256 * 1024
_MAX_SECRET_BYTES = 4096
_SETTING = "EXTERNAL_ISSUERS_FILE"


def read_issuers(path: Path, rules: IssuerRules) -> tuple[IssuerSettings, ...]:
    """The authorization servers that the file describes, each checked; raises ConfigurationError naming what is wrong.

    A ``login`` may say ``client_secret_file`` instead of the secret: the file that holds it.
    """
    try:
        described = yaml.safe_load(_read(path, _MAX_BYTES, _SETTING))
    except yaml.YAMLError:
        raise ConfigurationError(f"{_SETTING} {path} is no YAML") from None
    listed: Any = cast("dict[str, Any]", described).get("issuers") if isinstance(described, dict) else None
    if not isinstance(listed, list):
        raise ConfigurationError(f"{_SETTING} {path} has a list called issuers")
    entries = cast("list[Any]", listed)
    if len(entries) > MAX_ISSUERS:
        raise ConfigurationError(f"{_SETTING} {path} names at most {MAX_ISSUERS} issuers")
    found = tuple(_issuer(path, number, entry, rules) for number, entry in enumerate(entries, 1))
    if len({each.name for each in found}) != len(found) or len({each.issuer for each in found}) != len(found):
        raise ConfigurationError(f"{_SETTING} {path} names an issuer twice")
    return found


def _issuer(path: Path, number: int, entry: Any, rules: IssuerRules) -> IssuerSettings:
    try:
        said = msgspec.convert(_with_secret(entry), IssuerSettings)
        rules.check(said)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{_SETTING} {path}, issuer {number}: {error}") from None
    except IssuerRefused as error:
        raise ConfigurationError(f"{_SETTING} {path}, issuer {number}: {error.detail}") from None
    return said


def _with_secret(entry: Any) -> Any:
    """The entry with the secret of its login read from where the entry says it is."""
    if not isinstance(entry, dict):
        return entry
    said = cast("dict[str, Any]", entry)
    login = said.get("login")
    if not isinstance(login, dict) or "client_secret_file" not in login:
        return said
    told = dict(cast("dict[str, Any]", login))
    place = Path(str(told.pop("client_secret_file")))
    secret = _read(place, _MAX_SECRET_BYTES, "client_secret_file").rstrip("\r\n")
    return said | {"login": told | {"client_secret": secret}}


def _read(path: Path, most: int, what: str) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(most + 1)
    except OSError as error:
        raise ConfigurationError(f"{what} {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{what} {path} is no UTF-8 text") from None
    if len(text) > most:
        raise ConfigurationError(f"{what} {path} is over {most} characters")
    return text

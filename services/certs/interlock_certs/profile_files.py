"""PROFILES_FILE: which profiles there are and who has which, in YAML. What it does not understand stops the start."""

import ipaddress
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from interlock_certs.errors import ProfilesUnusable
from interlock_certs.profiles import ON_THE_BUS, SERVICE, Profile, Profiles, is_mail_pattern, is_pattern

_MAX_BYTES = 256 * 1024
_DAY = 86400

type _Usage = Literal["client", "server"]


class _Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    lifetime: Annotated[int, msgspec.Meta(ge=3, le=825 * _DAY)] = _DAY
    usages: Annotated[tuple[_Usage, ...], msgspec.Meta(min_length=1)] = ("client", "server")
    dns: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    common_name: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    profiles: dict[str, _Profile] = {}
    identities: dict[str, str] = {}


def read_profiles(path: Path | None, trust_domain: str, service_lifetime: timedelta) -> Profiles:
    """The profiles of the file, and ``service`` in any case; raises ProfilesUnusable with the place that is wrong."""
    service = Profile(service_lifetime)
    if path is None:
        return Profiles(trust_domain, {SERVICE: service})
    file = _decoded(path)
    known: Mapping[str, Profile] = {name: _profile(path, name, found) for name, found in file.profiles.items()}
    if SERVICE in known:
        raise ProfilesUnusable(f"PROFILES_FILE {path}: {SERVICE} is built in, LEAF_LIFETIME its lifetime")
    for pattern, name in file.identities.items():
        if pattern in ON_THE_BUS:
            raise ProfilesUnusable(f"PROFILES_FILE {path}: {pattern} is on the bus and keeps the profile {SERVICE}")
        if name not in known and name != SERVICE:
            raise ProfilesUnusable(f"PROFILES_FILE {path}: {pattern} has the profile {name}, which is not there")
    return Profiles(trust_domain, {SERVICE: service, **known}, file.identities)


def _decoded(path: Path) -> _File:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ProfilesUnusable(f"PROFILES_FILE {path} cannot be read: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise ProfilesUnusable(f"PROFILES_FILE {path} is over {_MAX_BYTES} bytes")
    try:
        return msgspec.yaml.decode(content, type=_File)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProfilesUnusable(f"PROFILES_FILE {path}: {error}") from None


def _profile(path: Path, name: str, found: _Profile) -> Profile:
    wrong = [host for host in found.dns if not is_pattern(host)] + [
        mail for mail in found.emails if not is_mail_pattern(mail)
    ]
    if wrong:
        raise ProfilesUnusable(f"PROFILES_FILE {path}: {wrong[0]!r} of the profile {name} is no pattern of a name")
    try:
        addresses = tuple(ipaddress.ip_network(address) for address in found.addresses)
    except ValueError as error:
        raise ProfilesUnusable(f"PROFILES_FILE {path}: addresses of the profile {name}: {error}") from None
    return Profile(
        timedelta(seconds=found.lifetime), frozenset(found.usages), found.dns, addresses, found.emails,
        found.common_name,
    )  # fmt: skip

"""Every permission by its exact string, and the built-in roles: the one place that says which there are."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

_CRUD = ("create", "read", "update", "delete")
GROUPS: dict[str, tuple[str, ...]] = {
    "tools": (*_CRUD, "execute"),
    "resources": _CRUD,
    "prompts": _CRUD,
    "servers": _CRUD,
    "gateways": _CRUD,
    "tokens": _CRUD,
    "teams": _CRUD,
    "users": _CRUD,
    "plugins": _CRUD,
    "admin": ("system_config", "user_management", "security_audit"),
}
PERMISSIONS: tuple[str, ...] = tuple(f"{group}.{verb}" for group, verbs in GROUPS.items() for verb in verbs)
_KNOWN = frozenset(PERMISSIONS)
_SUGGESTIONS = 3

PLATFORM_ADMIN = "platform_admin"
TEAM_ADMIN = "team_admin"
VIEWER = "viewer"


@dataclass(frozen=True)
class BuiltInRole:
    """A role that is always there; ``of_platform`` and ``of_team`` say where it may be given."""

    name: str
    description: str
    permissions: tuple[str, ...]
    of_platform: bool = True
    of_team: bool = True


def group(name: str) -> tuple[str, ...]:
    """The permissions that ``<name>.*`` stands for."""
    return tuple(f"{name}.{verb}" for verb in GROUPS[name])


def expand(names: Iterable[str]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The exact strings, in their order, that ``names`` stand for, and each unknown name with the nearest known.

    ``tools.*`` stands for its group as it is today; what joins the group later is not granted by it.
    """
    wanted: set[str] = set()
    unknown: dict[str, tuple[str, ...]] = {}
    for name in names:
        prefix, _, verb = name.partition(".")
        if verb == "*" and prefix in GROUPS:
            wanted.update(group(prefix))
        elif name in _KNOWN:
            wanted.add(name)
        else:
            unknown[name] = tuple(difflib.get_close_matches(name[:100], PERMISSIONS, _SUGGESTIONS, cutoff=0.5))
    return tuple(name for name in PERMISSIONS if name in wanted), unknown


_BUILDING = tuple(name for each in ("tools", "resources", "prompts", "servers", "gateways") for name in group(each))
_OFFERED = ("tools.read", "resources.read", "prompts.read", "servers.read", "gateways.read", "teams.read")

BUILT_IN_ROLES: dict[str, BuiltInRole] = {
    role.name: role
    for role in (
        BuiltInRole(PLATFORM_ADMIN, "may do everything, and sees everything", PERMISSIONS, of_team=False),
        BuiltInRole(
            "platform_viewer", "reads everything that it sees, and the audit record",
            (*(name for name in PERMISSIONS if name.endswith(".read")), "admin.security_audit"), of_team=False,
        ),
        BuiltInRole(
            TEAM_ADMIN, "runs a team: its members and whatever belongs to it",
            (*_BUILDING, *group("tokens"), "teams.read", "teams.update", "teams.delete"), of_platform=False,
        ),
        BuiltInRole(
            "developer", "builds and uses: gateways, virtual servers, their tools, own tokens",
            (*_BUILDING, *group("tokens"), "teams.create", "teams.read", "plugins.read"),
        ),
        BuiltInRole(VIEWER, "sees what there is", _OFFERED),
    )
}  # fmt: skip

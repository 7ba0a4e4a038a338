"""Every contract of the bus as text: a change of one shows in the diff (``make snapshots`` accepts it)."""

import importlib
import inspect
import json
import os
import pkgutil
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from interlock_common import messages
from interlock_common.messages import access, resources, subjects

SNAPSHOTS = Path(__file__).parent / "snapshots"
UPDATE = os.environ.get("UPDATE_SNAPSHOTS") == "1"


def _modules() -> Iterable[Any]:
    for module in sorted(pkgutil.iter_modules(messages.__path__), key=lambda module: module.name):
        yield importlib.import_module(f"{messages.__name__}.{module.name}")


def _type_name(kind: Any) -> str:
    """A type as its contract writes it, without the modules it lives in."""
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Za-z])", "", inspect.formatannotation(kind))


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return ""
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(value, msgspec.Raw):
        return f" = {bytes(value)!r}"
    return f" = {value!r}"


def _render_struct(kind: type[msgspec.Struct]) -> Iterable[str]:
    config = kind.__struct_config__
    traits = [f"{config.tag_field}={config.tag!r}"] if config.tag is not None else []
    traits += [name for name in ("omit_defaults", "array_like", "forbid_unknown_fields") if getattr(config, name)]
    yield f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}" + (f"  [{', '.join(traits)}]" if traits else "")
    for field in msgspec.structs.fields(kind):
        yield f"    {field.encode_name}: {_type_name(field.type)}{_default(field)}"
    yield ""


def render_messages() -> str:
    structs = [
        kind
        for module in _modules()
        for _, kind in sorted(inspect.getmembers(module, inspect.isclass))
        if issubclass(kind, msgspec.Struct) and kind.__module__ == module.__name__
    ]
    return "\n".join(line for kind in structs for line in _render_struct(kind))


def render_subjects() -> str:
    named = {name: value for name, value in vars(subjects).items() if name.isupper() and isinstance(value, str)}
    made = {
        f"{function.__name__}({service})": function(service)
        for function in (subjects.leaf_renew, subjects.audit_batch, subjects.inbox_prefix)
        for service in (*access.SERVICES, access.OPERATOR)
    }
    return "".join(f"{name:<40} {value}\n" for name, value in (named | made).items())


def render_resources() -> str:
    return "".join(
        f"{kind} {json.dumps(msgspec.to_builtins(each), indent=4)}\n\n"
        for kind, all_of in (("stream", resources.STREAMS), ("bucket", resources.BUCKETS))
        for each in all_of
    )


def render_permissions() -> str:
    lines: list[str] = []
    for row in access.TABLE:
        lines.append(row.identity)
        lines += [f"    publish    {subject}" for subject in row.publish]
        lines += [f"    subscribe  {subject}" for subject in row.subscribe]
        lines.append("")
    return "\n".join(lines)


@pytest.mark.parametrize("render", [render_messages, render_subjects, render_resources, render_permissions])
def test_snapshot(render: Callable[[], str]) -> None:
    path = SNAPSHOTS / f"{render.__name__.removeprefix('render_')}.txt"
    text = render().rstrip("\n") + "\n"
    if UPDATE:
        path.write_text(text)
    assert path.read_text() == text, "a contract changed: run `make snapshots` and look at the diff"


def test_each_subject_is_named_once() -> None:
    named = [value for name, value in vars(subjects).items() if name.isupper() and isinstance(value, str)]
    assert len(named) == len(set(named))


def test_every_service_is_rendered_into_the_configuration_of_the_bus() -> None:
    text = access.render_accounts("example.org")
    for identity in (*access.SERVICES, access.OPERATOR, access.BUS_ADMIN):
        assert f'"spiffe://example.org/svc/{identity}"' in text

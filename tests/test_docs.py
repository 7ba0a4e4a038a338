"""The documentation says what the code says: names, defaults, owners, links, and where to look."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from interlock_common.messages import access, resources, subjects
from interlock_common.settings import ServiceSettings

ROOT = Path(__file__).resolve().parent.parent
SERVICES = {
    "certs": "interlock_certs",
    "auth": "interlock_auth",
    "gateway": "interlock_gateway",
    "catalog": "interlock_gateway.catalog",
    "connector": "interlock_gateway.connector",
    "plugins": "interlock_plugins",
    "audit": "interlock_audit",
}
NOT_OURS = {".venv", ".git", ".tools", ".interlock", "node_modules", "build", "dist"}

type Row = list[str]


def settings_of(service: str) -> type[ServiceSettings]:
    return importlib.import_module(f"{SERVICES[service]}.config").Settings


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def rows(text: str) -> Iterator[Row]:
    """The cells of every line of every table; heads and rulers too."""
    for line in text.splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip().strip("|").split("|")]


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next of any level."""
    start = re.search(rf"^#+ {re.escape(heading)}.*$", text, re.MULTILINE)
    assert start is not None, f"there is no heading {heading!r}"
    return re.split(r"^#+ ", text[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]


def markdown() -> list[Path]:
    return [path for path in ROOT.rglob("*.md") if not NOT_OURS & set(path.relative_to(ROOT).parts)]


def test_architecture_names_every_subject() -> None:
    text = read("docs/architecture.md")
    named = {name: value for name, value in vars(subjects).items() if name.isupper()}
    assert len(named) > 20
    missing = {name for name, value in named.items() if f"`{value}`" not in text}
    assert missing - {"AUDIT_BATCHES", "EVENTS"} == set()


def test_architecture_names_no_subject_that_is_not_there() -> None:
    found = re.findall(r"`((?:svc|evt)\.[a-z-]+\.[a-z-]+\.[a-z-]+)", read("docs/architecture.md"))
    assert set(found) - {value for name, value in vars(subjects).items() if name.isupper()} == set()


def test_architecture_tells_every_stream_and_its_owner() -> None:
    told = {row[0]: row for row in rows(section(read("docs/architecture.md"), "Streams"))}
    for stream in resources.STREAMS:
        _, owner, bound, _, storage = told.pop(f"`{stream.name}`")
        assert (owner, bound, storage) == (stream.owner, ", ".join(f"`{s}`" for s in stream.subjects), stream.storage)
    assert set(told) == {"stream", "---"}


def test_architecture_tells_every_bucket_its_owner_and_its_readers() -> None:
    told = {row[0]: row for row in rows(section(read("docs/architecture.md"), "Buckets"))}
    for bucket in resources.BUCKETS:
        readers = sorted(service for service, read_by in access.MIRRORS.items() if bucket in read_by)
        row = told.pop(f"`{bucket.name}`")
        assert row == [f"`{bucket.name}`", bucket.owner, ", ".join(readers), bucket.description, bucket.storage]
    assert set(told) == {"bucket", "---"}


@pytest.mark.parametrize("service", SERVICES)
def test_architecture_and_readme_tell_the_health_port(service: str) -> None:
    port = str(settings_of(service).model_fields["health_port"].default)
    for text in (section(read("docs/architecture.md"), "Processes"), section(read("README.md"), "Processes and ports")):
        (row,) = (row for row in rows(text) if row[0].split(" ")[0] == service)
        assert port in row


def shown(field: FieldInfo) -> str:
    default: object = field.default
    if default is None:
        return "none"
    if isinstance(default, SecretStr):
        return "secret"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, float):
        return f"`{default:g}`"
    return f"`{default}`" if str(default) else "empty"


def test_configuration_has_every_setting_that_services_share() -> None:
    told = {name: default for name, default, *_ in rows(section(read("docs/configuration.md"), "Every service"))}
    expected = {f"`{name.upper()}`": shown(field) for name, field in ServiceSettings.model_fields.items()}
    assert told == {"name": "default", "---": "---"} | expected


@pytest.mark.parametrize("service", SERVICES)
def test_configuration_has_every_setting_of_a_service(service: str) -> None:
    told = {name: default for name, default, *_ in rows(section(read("docs/configuration.md"), service))}
    own = {
        name: field
        for name, field in settings_of(service).model_fields.items()
        if name not in ServiceSettings.model_fields or field.default != ServiceSettings.model_fields[name].default
    }
    expected = {f"`{name.upper()}`": shown(field) for name, field in own.items()}
    assert told == {"name": "default", "---": "---"} | expected


@pytest.mark.parametrize("page", markdown(), ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```|`[^`\n]*`(?!\])", "", text, flags=re.DOTALL)
    targets: list[str] = re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|href)="([^"]+)"', prose)
    lost = [target for target in targets if not re.match(r"[a-z]+:", target) and not leads_somewhere(page, target)]
    assert lost == []


def leads_somewhere(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    found = page if not path else page.parent / path
    return found.exists() and (not anchor or anchor in anchors(found.read_text(encoding="utf-8")))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of headings."""
    headings: list[str] = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def where_is() -> list[Row]:
    return [row for row in rows(section(read("README.md"), "Where is")) if row[0] not in {"question", "---"}]


@pytest.mark.parametrize("row", where_is(), ids=lambda row: str(row[0]))
def test_the_readme_knows_where_things_are(row: Row) -> None:
    _, link, name = row
    shown_path, target = re.fullmatch(r"\[`(.+)`\]\((.+)\)", link).groups()  # pyright: ignore[reportOptionalMemberAccess] - then the row is wrong
    assert shown_path == target
    tree = ast.parse(read(target))
    assert defines(tree.body, name.strip("`").split(".")), f"{target} does not define {name}"


def test_the_readme_knows_the_ways_that_people_ask_for() -> None:
    known = " ".join(row[1] for row in where_is())
    asked = "tool_calls access authority tokens live appending chain bus stack settings"
    assert [name for name in asked.split() if f"/{name}.py" not in known] == []


def defines(body: list[ast.stmt], path: list[str]) -> bool:
    """Whether a module defines ``Class.method``, a function, a class or a constant."""
    name, *rest = path
    for node in body:
        match node:
            case ast.ClassDef() if node.name == name:
                return not rest or defines(node.body, rest)
            case ast.FunctionDef() | ast.AsyncFunctionDef() if node.name == name:
                return not rest
            case ast.Assign(targets=[ast.Name(id=found)]) | ast.AnnAssign(target=ast.Name(id=found)) if found == name:
                return not rest
            case _:
                continue
    return False


def test_every_decision_is_in_the_index_and_has_its_parts() -> None:
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text(encoding="utf-8")
    decisions = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    assert [path.name[:4] for path in decisions] == [f"{number:04}" for number in range(1, len(decisions) + 1)]
    for path in decisions:
        text = path.read_text(encoding="utf-8")
        assert f"]({path.name})" in index
        head = rf"# {path.name[:4]}: .+\n\n\*\*.+\*\*\n\nDate: \d{{4}}-\d\d-\d\d · Status: \w+"
        assert re.match(head, text), path.name
        assert [f"## {part}" in text for part in ("Context", "Decision", "Consequences")] == [True] * 3

"""Which plugins ``mcp-all`` finds in a plugin file, and what it says about files that are wrong."""

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock_cli.certificates.errors import CertificateError
from interlock_cli.certificates.plugin_config import ExternalPlugin, external_plugins
from interlock_cli.certificates.text import names_of

FILE = """
plugins:
  - name: "OPAPluginFilter"
    kind: "external"
    hooks: ["tool_pre_invoke"]
    mcp: {proto: STREAMABLEHTTP, url: "https://opa.internal:8000/mcp"}
  - name: "PIIFilter"
    kind: "plugins.pii_filter.pii_filter.PIIFilterPlugin"
  - {name: guard, kind: external, mcp: {proto: STREAMABLEHTTP, url: "https://127.0.0.1:8001/mcp"}}
  - {name: local, kind: external, mcp: {proto: STDIO, script: run.py}}
  - {name: guard, kind: external}
plugin_dirs: [plugins/native]
plugin_settings: {plugin_timeout: 30}
"""


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_plugins_of_other_kinds_need_no_certificate(tmp_path: Path) -> None:
    assert external_plugins(written(tmp_path, FILE)) == [
        ExternalPlugin("OPAPluginFilter", "opa.internal"), ExternalPlugin("guard", "127.0.0.1"),
        ExternalPlugin("local"),
    ]  # fmt: skip


def test_every_external_plugin_gets_its_folder_and_the_host_it_is_called_by(certs: Any) -> None:
    written(certs.folder, FILE)
    result = certs("mcp-all", MCP_PLUGIN_CONFIG="config.yaml")
    assert result.exit_code == 0, result.output
    folders = {name.split("/")[2] for name in certs.files() if name.startswith("mcp/plugins/")}
    assert folders == {"OPAPluginFilter", "guard", "local"}
    certificate = x509.load_pem_x509_certificate(certs.path("mcp/plugins/OPAPluginFilter/server.crt").read_bytes())
    assert names_of(certificate) == [
        "OPAPluginFilter", "mcp-plugin-OPAPluginFilter", "localhost", "127.0.0.1", "opa.internal",
    ]  # fmt: skip


def test_the_usual_file_is_read_where_none_is_named(certs: Any) -> None:
    (certs.folder / "plugins/external").mkdir(parents=True)
    (certs.folder / "plugins/external/config.yaml").write_text("plugins: [{name: usual, kind: external}]")
    assert certs("mcp-all").exit_code == 0
    assert "mcp/plugins/usual/server.crt" in certs.files()


def test_without_a_file_there_are_two_examples(certs: Any) -> None:
    result = certs("mcp-all")
    assert result.exit_code == 0
    assert "there is no plugins/external/config.yaml" in result.stderr
    folders = {name.split("/")[2] for name in certs.files() if name.startswith("mcp/plugins/")}
    assert folders == {"example-plugin-a", "example-plugin-b"}


def test_a_file_without_external_plugins_makes_the_gateway_alone(certs: Any) -> None:
    written(certs.folder, "plugins: []")
    result = certs("mcp-all", "--config", "config.yaml")
    assert result.exit_code == 0
    assert "no plugin of kind external" in result.stderr
    assert not [name for name in certs.files() if "plugins" in name]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plugins: [", "is not YAML, line 1"),
        ("plugins:\n  - name: a\n   kind: external", "is not YAML, line 3"),
        ("- a", "is no mapping"),
        ("plugins: yes", "plugins is no list"),
        ("plugins: [3]", "plugins[0] is no mapping"),
        ("plugins: [{kind: external}]", "plugins[0] has no name"),
        ("plugins: [{kind: external, name: 7}]", "plugins[0] has no name"),
        ("plugins: [{kind: external, name: ../../etc}]", "plugins[0]: '../../etc' cannot be the folder"),
        ("plugins: [{kind: external, name: a b}]", "cannot be the folder"),
        ("plugins: [{kind: external, name: a, mcp: {url: 'http://[x'}}]", "is no URL"),
        ("plugins: [{kind: external, name: a, mcp: {url: 'https://b~c/'}}]", "is no host name"),
        ("a: " + "[" * 500, "is nested too deeply"),
        (b"\xff\xfe\x00", "is not UTF-8"),
        ("plugins: !!python/object:os.system {}", "is not YAML"),
    ],
)
def test_a_broken_file_makes_nothing_and_says_where(certs: Any, text: str | bytes, said: str) -> None:
    written(certs.folder, text)
    result = certs("mcp-all", "--config", "config.yaml")
    assert (result.exit_code, certs.files()) == (2, set())
    assert "config.yaml" in result.stderr
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.binary(max_size=300), st.text("plugins: []{}-#&*!|>'\"\nnamekidxtrl0x\t", max_size=200)))
def test_whatever_is_in_the_file_is_read_or_refused(tmp_path_factory: Any, content: bytes | str) -> None:
    path = written(tmp_path_factory.getbasetemp(), content)
    refused = ""
    try:
        external_plugins(path)
    except CertificateError as error:
        refused = error.detail
    assert not refused or str(path) in refused

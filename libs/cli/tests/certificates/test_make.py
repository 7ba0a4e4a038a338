"""``make certs…``: each target is there, and hands on what it is given."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[4]
TARGETS = {
    "certs": "front", "certs-passphrase": "passphrase", "certs-remove-passphrase": "remove-passphrase",
    "certs-jwt": "jwt", "certs-jwt-ecdsa": "jwt-ecdsa", "certs-all": "all", "certs-mcp-ca": "mcp-ca",
    "certs-mcp-gateway": "mcp-gateway", "certs-mcp-plugin": "mcp-plugin", "certs-mcp-all": "mcp-all",
    "certs-mcp-check": "mcp-check", "certs-client": "client", "certs-mtls": "mtls", "certs-check": "check",
}  # fmt: skip

pytestmark = pytest.mark.skipif(
    shutil.which("make") is None or not (ROOT / "Makefile").exists(), reason="needs make and a checkout"
)


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "CERT", "MCP"))}
    return subprocess.run(
        ["make", "--no-print-directory", "-C", str(ROOT), *arguments], env=kept | environment, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("target", "command"), TARGETS.items())
def test_every_target_is_a_command(target: str, command: str) -> None:
    done = make("--dry-run", target, "NAME=ada", "PLUGIN_NAME=x", "ARGS=--force")
    assert done.returncode == 0, done.stderr
    assert f"interlock certs {command} --force" in done.stdout


def test_the_list_of_targets_names_them_in_a_part_of_their_own() -> None:
    listed = make().stdout
    assert set(TARGETS) <= set(listed.split("certificates into certs/")[1].split())


def test_the_documentation_names_every_target_and_variable(certs: Any) -> None:
    told = (ROOT / "docs/certificate-tools.md").read_text(encoding="utf-8")
    for target, command in TARGETS.items():
        assert re.search(rf"^\| `{target}[` ].*\| `{command}[` ]", told, re.MULTILINE), target
    shown = "".join(certs(command, "--help", COLUMNS="200").stdout for command in (*TARGETS.values(), "acme"))
    variables = set(re.findall(r"env var: (\w+)", shown)) - {"PLUGIN_NAME"}
    assert {"CERT_DAYS", "MCP_CERT_DAYS", "CA_DAYS", "KEY_SIZE", "CERT_DIR", "MCP_PLUGIN_CONFIG"} <= variables
    assert [name for name in sorted(variables) if f"`{name}`" not in told] == []


def test_variables_of_make_reach_the_command(tmp_path: Path) -> None:
    variables = (f"CERT_DIR={tmp_path}", "KEY_SIZE=2048", "MCP_CERT_DAYS=20", "CA_DAYS=40")
    done = make("certs-mcp-plugin", "PLUGIN_NAME=pii", *variables)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mcp/plugins/pii/server.crt").exists()
    check = make("certs-mcp-check", f"CERT_DIR={tmp_path}")
    assert check.returncode != 0
    assert "expires in 19 days" in check.stdout


def test_a_name_is_needed_and_no_shell_reads_it(tmp_path: Path) -> None:
    for target in ("certs-client", "certs-mcp-plugin"):
        done = make(target, f"CERT_DIR={tmp_path}", NAME="of-the-machine")
        assert done.returncode != 0
        assert f"make {target} " in done.stderr
    hostile = f"x; touch {tmp_path}/here"
    done = make("certs-client", f"CERT_DIR={tmp_path}", f"NAME={hostile}")
    assert done.returncode != 0
    assert "cannot be the name of a client" in done.stderr
    assert list(tmp_path.iterdir()) == []

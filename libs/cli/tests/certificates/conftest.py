"""The command in a folder of its own, with quick keys, and the real OpenSSL beside it."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from interlock_cli.main import app

_VARIABLES = (
    "CERT_DIR", "CERT_DAYS", "MCP_CERT_DAYS", "CA_DAYS", "KEY_SIZE", "MCP_PLUGIN_CONFIG", "PLUGIN_NAME",
    "KEY_FILE_PASSWORD", "KEY_FILE_PASSWORD_FILE", "CA_KEY_PASSWORD", "CA_KEY_PASSWORD_FILE", "GROUP_READABLE",
    "CERT_WARNING_DAYS",
)  # fmt: skip


@dataclass(frozen=True)
class Certs:
    """``interlock certs …`` in a folder; what it makes is below ``folder / "certs"``."""

    folder: Path

    def __call__(self, *arguments: str, text: str = "", **environment: str) -> Result:
        return CliRunner().invoke(app, ["certs", *arguments], input=text, env=environment)

    def path(self, name: str) -> Path:
        return self.folder / "certs" / name

    def files(self) -> set[str]:
        root = self.folder / "certs"
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}

    def contents(self) -> dict[str, bytes]:
        return {name: self.path(name).read_bytes() for name in self.files()}


@dataclass(frozen=True)
class OpenSSL:
    """The real one, as somebody who does not trust us would use it."""

    folder: Path

    def run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["openssl", *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            cwd=self.folder,
        )

    def text(self, path: str) -> str:
        done = self.run("x509", "-in", path, "-noout", "-text")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def verifies(self, *arguments: str) -> bool:
        return self.run("verify", *arguments).returncode == 0


@pytest.fixture
def certs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certs:
    monkeypatch.chdir(tmp_path)
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KEY_TYPE", "p256")
    return Certs(tmp_path)


@pytest.fixture
def openssl(tmp_path: Path) -> OpenSSL:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl on this machine")
    return OpenSSL(tmp_path)

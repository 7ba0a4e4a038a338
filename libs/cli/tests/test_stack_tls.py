"""``interlock up --tls``: HTTPS with a certificate that the edge makes, and commands that find and trust it."""

import json
import signal
import ssl
import subprocess
import sysconfig
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from interlock_common.ports import choose_free

pytestmark = pytest.mark.stack
COMMAND = str(Path(sysconfig.get_path("scripts")) / "interlock")


def test_the_whole_gateway_over_https(tmp_path: Path) -> None:
    state, port = tmp_path / "state", choose_free(1)[0]
    up = [COMMAND, "up", "--tls", "--san", "mcp.test", "--state", str(state), "--port", str(port), "--json"]
    with subprocess.Popen(up, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        told = json.loads(running.stdout.readline())
        try:
            assert told["url"] == f"https://127.0.0.1:{port}"
            trust = ssl.create_default_context(cafile=told["ca"])
            for host in ("localhost", "127.0.0.1"):
                with urllib.request.urlopen(f"https://{host}:{port}/health", context=trust, timeout=10) as answer:
                    assert json.load(answer)["status"] == "healthy"
                    assert answer.headers["strict-transport-security"]
            with pytest.raises(urllib.error.HTTPError, match="400"):
                urllib.request.urlopen(f"http://localhost:{port}/health", timeout=10)
            for words in (["gateways", "list", "--json"], ["tls", "diagnose", f"localhost:{port}", "--ca", told["ca"]]):
                more = ["--state", str(state)] if words[0] == "gateways" else ["--name", "mcp.test"]
                said = subprocess.run([COMMAND, *words, *more], capture_output=True, timeout=30, check=False)
                assert said.returncode == 0, said.stderr
        finally:
            running.send_signal(signal.SIGTERM)
            assert running.wait(40) == 0

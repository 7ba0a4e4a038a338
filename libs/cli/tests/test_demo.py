import subprocess
import sysconfig
from pathlib import Path

import pytest

from interlock_cli.demo.checks import CHECKS

pytestmark = pytest.mark.stack


def test_every_line_of_the_demo_holds() -> None:
    command = Path(sysconfig.get_path("scripts")) / "interlock"
    shown = subprocess.run([command, "demo"], capture_output=True, text=True, timeout=120, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    lines = [line for line in shown.stdout.splitlines() if line.startswith("ok ")]
    assert len(lines) == 1 + len(CHECKS)
    assert "plugins" in shown.stdout.rpartition("tools/call")[0]

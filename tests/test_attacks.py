"""What is attacked is written down, and all of it."""

import os
import re
import subprocess
import sys

from stories.attack_table import ROOT, TABLE


def test_the_table_of_attacks_says_what_is_tried_and_how_it_is_answered() -> None:
    """In a process of its own: pytest is asked for its tests."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "integration"), *sys.path])}
    command = [sys.executable, "-m", "stories.attack_table", "--print"]
    page = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
    assert page == TABLE.read_text(), "written anew by: PYTHONPATH=tests/integration python -m stories.attack_table"


def test_there_are_sixty_attacks_at_least() -> None:
    (count,) = re.findall(r"^(\d+) attacks run", TABLE.read_text(), re.MULTILINE)
    assert int(count) >= 60

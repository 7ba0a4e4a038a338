"""``python -m interlock_cli.waiting MODULE``: import the program ``MODULE``, then run it when a line comes in.

It imports nothing else, so that the process holds exactly what ``python -m MODULE`` would.
"""

import importlib
import sys


def run(module: str) -> int:
    """Run ``module`` once released; without a line (the supervisor is gone) end at once."""
    entry = importlib.import_module(f"{module}.__main__")
    if not sys.stdin.readline():
        return 0
    return entry.main([])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1]))

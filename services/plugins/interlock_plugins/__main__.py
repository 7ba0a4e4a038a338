"""``python -m interlock_plugins`` serves."""

import sys

from interlock_common.errors import ConfigurationError
from interlock_common.runtime import CONFIGURATION_EXIT, run_process
from interlock_plugins.app import serve
from interlock_plugins.config import Settings


def main(arguments: list[str]) -> int:
    """Serve; the exit code says how it went."""
    if arguments:
        sys.stderr.write("usage: python -m interlock_plugins\n")
        return CONFIGURATION_EXIT
    try:
        settings = Settings.load()
    except ConfigurationError as error:
        sys.stderr.write(f"error: {error.detail}\n")
        return CONFIGURATION_EXIT
    return run_process(lambda: serve(settings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

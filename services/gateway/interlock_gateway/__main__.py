"""``python -m interlock_gateway`` runs an edge; the catalog is ``python -m interlock_gateway.catalog``."""

import sys

from interlock_common.errors import ConfigurationError
from interlock_common.runtime import CONFIGURATION_EXIT, run_process
from interlock_gateway.app import serve
from interlock_gateway.config import Settings


def main(arguments: list[str]) -> int:
    """Serve; the exit code says how it went."""
    if arguments:
        sys.stderr.write("usage: python -m interlock_gateway\n")
        return CONFIGURATION_EXIT
    try:
        settings = Settings.load()
    except ConfigurationError as error:
        sys.stderr.write(f"error: {error.detail}\n")
        return CONFIGURATION_EXIT
    return run_process(lambda: serve(settings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""``python -m interlock_certs`` serves; ``python -m interlock_certs migrate`` brings the database up to date."""

import sys

from interlock_certs.app import serve
from interlock_certs.config import Settings
from interlock_common.database import migrate
from interlock_common.errors import ConfigurationError
from interlock_common.runtime import CONFIGURATION_EXIT, run_process


def main(arguments: list[str]) -> int:
    """Serve or migrate; the exit code says how it went."""
    try:
        settings = Settings.load()
        if arguments == ["migrate"]:
            migrate(settings.database_url, "interlock_certs")
            return 0
    except ConfigurationError as error:
        sys.stderr.write(f"error: {error.detail}\n")
        return CONFIGURATION_EXIT
    if arguments:
        sys.stderr.write("usage: python -m interlock_certs [migrate]\n")
        return CONFIGURATION_EXIT
    return run_process(lambda: serve(settings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

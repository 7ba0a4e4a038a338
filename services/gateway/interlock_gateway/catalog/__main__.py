"""``python -m interlock_gateway.catalog`` serves; with ``migrate`` it brings the database up to date."""

import sys

from interlock_common.runtime import service_command
from interlock_gateway.catalog.app import serve
from interlock_gateway.catalog.config import Settings

main = service_command("interlock_gateway.catalog", Settings, serve, migrates=True)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

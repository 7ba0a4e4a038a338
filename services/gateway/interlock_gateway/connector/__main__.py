"""``python -m interlock_gateway.connector`` runs servers that talk over standard input and output."""

import sys

from interlock_common.runtime import service_command
from interlock_gateway.connector.app import serve
from interlock_gateway.connector.config import Settings

main = service_command("interlock_gateway.connector", Settings, serve, migrates=False)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""``python -m interlock_gateway`` runs an edge; the catalog is ``python -m interlock_gateway.catalog``."""

import sys

from interlock_common.runtime import service_command
from interlock_gateway.app import serve
from interlock_gateway.config import Settings

main = service_command("interlock_gateway", Settings, serve, migrates=False)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""``python -m interlock_certs`` serves; ``python -m interlock_certs migrate`` brings the database up to date."""

import sys

from interlock_certs.app import serve
from interlock_certs.config import Settings
from interlock_common.runtime import service_command

main = service_command("interlock_certs", Settings, serve, migrates=True)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""``python -m interlock_audit`` serves; ``python -m interlock_audit migrate`` brings the database up to date."""

import sys

from interlock_audit.app import serve
from interlock_audit.config import Settings
from interlock_common.runtime import service_command

main = service_command("interlock_audit", Settings, serve, migrates=True)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

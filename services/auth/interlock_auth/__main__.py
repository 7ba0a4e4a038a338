"""``python -m interlock_auth`` serves; ``python -m interlock_auth migrate`` brings the database up to date."""

import sys

from interlock_auth.app import serve
from interlock_auth.config import Settings
from interlock_common.runtime import service_command

main = service_command("interlock_auth", Settings, serve, migrates=True)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""``python -m interlock_plugins`` serves."""

import sys

from interlock_common.runtime import service_command
from interlock_plugins.app import serve
from interlock_plugins.config import Settings

main = service_command("interlock_plugins", Settings, serve, migrates=False)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

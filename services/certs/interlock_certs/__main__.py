"""``python -m interlock_certs`` serves; ``migrate`` brings the database up to date; two commands for an offline root.

``issuing-request`` writes the request that the offline root signs, ``issuing-chain FILE`` checks the chain that it
signed and puts it where certs takes it over, whether it runs or not.
"""

import sys

from interlock_certs.app import place_issuing_chain, serve, write_issuing_request
from interlock_certs.config import Settings
from interlock_common.errors import ConfigurationError
from interlock_common.runtime import CONFIGURATION_EXIT, service_command

_run = service_command("interlock_certs", Settings, serve, migrates=True)
_ARGUMENTS = {"issuing-request": 1, "issuing-chain": 2}


def main(arguments: list[str]) -> int:
    """Answer an exit code; a configuration error is one clear line on standard error and the code 2."""
    if not arguments or arguments[0] not in _ARGUMENTS:
        return _run(arguments)
    if len(arguments) != _ARGUMENTS[arguments[0]]:
        sys.stderr.write("usage: python -m interlock_certs [migrate | issuing-request | issuing-chain FILE]\n")
        return CONFIGURATION_EXIT
    try:
        settings = Settings.load()
        done = place_issuing_chain(settings, arguments[1]) if arguments[1:] else write_issuing_request(settings)
    except ConfigurationError as error:
        sys.stderr.write(f"error: {error.detail}\n")
        return CONFIGURATION_EXIT
    sys.stdout.write(f"{done}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Run a command with a PostgreSQL of its own, in a container: ``python tests/with_postgres.py pytest …``.

The address is in ``TEST_POSTGRES_URL``, which the store tests read; without it they run on SQLite only.
"""

import os
import subprocess
import sys

from testcontainers.community.postgres import PostgresContainer


def main(command: list[str]) -> int:
    image = os.environ.get("POSTGRES_IMAGE", "postgres:17")
    with PostgresContainer(image, username="interlock", password="interlock", driver=None) as postgres:
        environment = os.environ | {"TEST_POSTGRES_URL": postgres.get_connection_url()}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

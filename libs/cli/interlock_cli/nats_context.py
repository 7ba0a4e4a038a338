"""``interlock nats context``: the bus as an operator sees it, for the ``nats`` command.

A context is a JSON file below ``$XDG_CONFIG_HOME/nats/context`` (natscli, ``nats context``). It points at the
certificate of the identity ``operator``, which may look at everything but sessions and change nothing.
"""

import logging
import os
import shlex
from pathlib import Path

import structlog

from interlock_cli.errors import CommandError, NotRunning, StateUnusable
from interlock_cli.ports import HOST
from interlock_cli.state import State, read_json, write_json
from interlock_common.enrolment import enrol
from interlock_common.errors import InterlockError
from interlock_common.identity import Identity
from interlock_common.messages.access import OPERATOR, WORKER
from interlock_common.messages.subjects import inbox_prefix

_NAME = "interlock"
_ENROL_SECONDS = 10.0


async def write_context(state: State) -> str:
    """Write the context, with a certificate that counts; answers what to type next. Raises CommandError."""
    identity, ports = await _identity(state, OPERATOR)
    path = context_folder() / f"{_NAME}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, context(identity, f"tls://{HOST}:{ports['bus']}"))
    except OSError as error:
        raise StateUnusable(f"{path} cannot be written: {error.strerror}") from None
    return (
        f"wrote {path}\n"
        f"the certificate counts until {identity.not_after:%Y-%m-%d %H:%M} UTC; run this again for a new one\n"
        f"try: nats --context {_NAME} micro ls"
    )


async def worker_environment(state: State) -> str:
    """What a worker finds its identity and the bus by, as lines for a shell. Raises CommandError."""
    identity, ports = await _identity(state, WORKER)
    return f"export IDENTITY_DIR={shlex.quote(str(identity.directory))}\nexport BUS_URL=tls://{HOST}:{ports['bus']}"


def context(identity: Identity, url: str) -> dict[str, str]:
    """The content of the file, in the names that natscli gives its fields."""
    return {
        "description": "the bus of Interlock, read-only",
        "url": url,
        "cert": str(identity.cert_path),
        "key": str(identity.key_path),
        "ca": str(identity.bundle_path),
        "inbox_prefix": inbox_prefix(OPERATOR),
    }


def context_folder() -> Path:
    configured = os.environ.get("XDG_CONFIG_HOME")
    return (Path(configured) if configured else Path.home() / ".config") / "nats" / "context"


async def _identity(state: State, name: str) -> tuple[Identity, dict[str, object]]:
    """The identity ``name`` with a certificate that counts, and the ports of the stack."""
    if not state.exists():
        raise NotRunning(f"there is no stack in {state.root}: start one with `interlock up --state {state.root}`")
    ports = read_json(state.ports_file)
    identity = Identity(name, state.trust_domain, state.identity(name))
    if not identity.is_usable():
        await _join(state, identity, f"https://{HOST}:{ports['enrolment']}")
    return identity, ports


async def _join(state: State, identity: Identity, url: str) -> None:
    name = identity.service
    if not state.is_running():
        raise NotRunning(f"the {name} has no certificate yet: run `interlock up --state {state.root}` first")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # errors are raised
    try:
        await enrol(identity, url, state.join / name, timeout=_ENROL_SECONDS)
    except InterlockError as error:
        raise CommandError(f"no certificate for the {name}: {error.detail}") from None

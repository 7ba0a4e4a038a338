"""The configuration of the embedded nats-server."""

import json
import os

from interlock_cli.environment import Placement
from interlock_cli.ports import HOST
from interlock_common.messages.access import render_accounts


def render_bus_config(placement: Placement) -> str:
    """Mutual TLS, a certificate's URI SAN as its user, JetStream that syncs before it acknowledges."""
    state = placement.state
    cert, key, ca, store = (
        json.dumps(str(path))
        for path in (state.bus / "cert.pem", state.bus / "key.pem", state.bus / "bundle.pem", state.jetstream)
    )
    # An include is looked for beside the file that has it, even with an absolute path.
    pins = json.dumps(os.path.relpath(state.bus / "pins.conf", state.nats_config.parent))
    return (
        "# Written by `interlock up` at each start.\n"
        f'server_name: "interlock-bus"\nlisten: "{HOST}:{placement.ports["bus"]}"\n'
        f'tls {{ cert_file: {cert}, key_file: {key}, ca_file: {ca}, verify_and_map: true, min_version: "1.2"\n'
        f"  include {pins}\n}}\n"
        f"jetstream {{ store_dir: {store}, sync_interval: always }}\n" + render_accounts(state.trust_domain)
    )

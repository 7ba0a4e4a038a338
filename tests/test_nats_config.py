"""The configuration of the deployed bus: the permissions are those of the code, and nats-server accepts the file."""

import re
import subprocess
from datetime import timedelta
from pathlib import Path

from interlock_common.messages.access import render_accounts, spiffe_id
from interlock_common.messages.resources import STREAMS
from interlock_common.nats_server import nats_server_binary
from interlock_common.testing.pki import ScratchAuthority

TRUST_DOMAIN = "interlock.local"
NATS = Path(__file__).resolve().parent.parent / "deploy" / "nats"


def test_the_checked_in_permissions_are_what_the_code_renders() -> None:
    header, _, accounts = (NATS / "authorization.conf").read_text().partition("\n")
    assert header.startswith("#")
    assert accounts == render_accounts(TRUST_DOMAIN), "run `make nats-config`"


def test_nats_server_accepts_the_configuration(tmp_path: Path) -> None:
    authority = ScratchAuthority()
    key, chain = authority.issue(
        spiffe=spiffe_id(TRUST_DOMAIN, "bus"), dns=["nats"], ips=["127.0.0.1"], lifetime=timedelta(hours=1)
    )
    for name, content in (("key.pem", key), ("cert.pem", chain), ("bundle.pem", authority.bundle_pem)):
        (tmp_path / name).write_bytes(content)
    config = (NATS / "nats-server.conf").read_text()
    (tmp_path / "nats-server.conf").write_text(config.replace("/etc/nats/identity", str(tmp_path)))
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity" / "pins.conf").write_text('pinned_certs: [\n  "' + "0" * 64 + '"\n]\n')
    (tmp_path / "authorization.conf").write_bytes((NATS / "authorization.conf").read_bytes())
    checked = subprocess.run(
        [nats_server_binary(), "-t", "-c", tmp_path / "nats-server.conf"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_what_streams_reserve_leaves_room_for_the_buckets() -> None:
    config = (NATS / "nats-server.conf").read_text()
    for storage, setting, unit in (("memory", "max_memory_store", 2**20), ("file", "max_file_store", 2**30)):
        found = re.search(rf"{setting}: (\d+)([MG])B", config)
        assert found is not None
        reserved = sum(stream.max_bytes for stream in STREAMS if stream.storage == storage)
        assert reserved <= int(found[1]) * unit * 0.6


def test_acknowledged_messages_are_on_the_disk_and_every_client_shows_a_certificate() -> None:
    config = (NATS / "nats-server.conf").read_text()
    assert "sync_interval: always" in config
    assert "verify_and_map: true" in config

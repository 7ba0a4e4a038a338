"""Settings of TLS at the edge."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from interlock_common.settings import ServiceSettings
from interlock_gateway.tls_front.automatic import KeyKind


class TlsSettings(ServiceSettings):
    """What the edge shows to clients, and what it asks of them."""

    ssl: bool = False
    cert_file: Path | None = None
    key_file: Path | None = None
    key_file_password: SecretStr | None = None
    cert_reqs: int = Field(default=0, ge=0, le=2)
    ca_certs: Path | None = None
    cert_chain_depth: int = Field(default=2, ge=1, le=10)
    tls_minimum_version: Literal["1.2", "1.3"] = "1.2"
    auto_cert_dir: Path | None = None
    auto_cert_sans: str = ""
    auto_cert_key: KeyKind = "rsa-4096"

"""Settings of certs."""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from interlock_certs.ca_keys import Algorithm
from interlock_certs.kubernetes import Cluster
from interlock_certs.plan import Brought, Root
from interlock_common.messages.access import BUS_ADMIN
from interlock_common.settings import ServiceSettings

_DAY = 86400
_IDENTITY = re.compile(r"[a-z][a-z0-9-]{0,62}")
_ACCOUNT = re.compile(r"[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}")
_MADE_HERE = frozenset({"bus", BUS_ADMIN, "certs"})


class Settings(ServiceSettings):
    """Read from the environment; the README has the table. Lifetimes are in seconds, lists comma-separated."""

    health_port: int = Field(default=9105, ge=0, le=65535)
    database_url: str = "sqlite:///certs.db"
    ca_dir: Path = Path("ca")
    root_lifetime: int = Field(default=3650 * _DAY, ge=60)
    issuing_lifetime: int = Field(default=365 * _DAY, ge=60)
    ca_key_algorithm: Algorithm = "p256"
    ca_key_passphrase: SecretStr | None = Field(default=None, min_length=12)
    ca_root: Root = "made"
    ca_root_cert_file: Path | None = None
    ca_issuing_chain_file: Path | None = None
    ca_issuing_key_file: Path | None = None
    pkcs11_module: Path | None = None
    pkcs11_token: str = "interlock"  # noqa: S105 - the label of a token
    pkcs11_pin: SecretStr | None = None
    profiles_file: Path | None = None
    leaf_lifetime: int = Field(default=_DAY, ge=3)
    bus_leaf_lifetime: int = Field(default=90 * _DAY, ge=3)
    join_drop_dir: Path = Path("join")
    join_identities: str = "auth,gateway,catalog,connector,plugins,audit,operator,worker"
    join_token_lifetime: int = Field(default=300, ge=5)
    bus_identity_dir: Path = Path("bus")
    bus_sans: str = "localhost,nats,127.0.0.1,::1"
    enrolment_host: str = "127.0.0.1"
    enrolment_port: int = Field(default=8444, ge=0, le=65535)
    enrolment_sans: str = "localhost,certs,127.0.0.1,::1"
    status_host: str = "127.0.0.1"
    status_port: int | None = Field(default=None, ge=0, le=65535)
    status_url: str = Field(default="", pattern=r"^$|^https?://[^\s?#]+$")
    crl_dir: Path | None = None
    crl_lifetime: int = Field(default=3600, ge=10)
    ca_rotation: Literal["auto", "manual"] = "auto"
    kubernetes_issuer: str = ""
    kubernetes_audience: str = "interlock-certs"
    kubernetes_jwks: str = ""
    kubernetes_ca_file: Path | None = None
    kubernetes_token_file: Path | None = None
    kubernetes_identities: str = ""

    @field_validator("join_identities")
    @classmethod
    def _join(cls, value: str) -> str:
        for name in _split(value):
            if not _IDENTITY.fullmatch(name) or name in _MADE_HERE:
                raise ValueError(f"{name!r} is no identity that may join")
        return value

    @field_validator("kubernetes_identities")
    @classmethod
    def _accounts(cls, value: str) -> str:
        for entry in _split(value):
            account, _, identity = entry.partition("=")
            if not _ACCOUNT.fullmatch(account) or not _IDENTITY.fullmatch(identity) or identity in _MADE_HERE:
                raise ValueError(f"{entry!r} is not namespace/serviceaccount=identity, of an identity that may join")
        return value

    @model_validator(mode="after")
    def _together(self) -> Self:
        files = (self.ca_root_cert_file, self.ca_issuing_chain_file, self.ca_issuing_key_file)
        if any(files) and not all(files):
            raise ValueError("set CA_ROOT_CERT_FILE, CA_ISSUING_CHAIN_FILE and CA_ISSUING_KEY_FILE together")
        if self.kubernetes_issuer and not (self.kubernetes_jwks and self.kubernetes_identities):
            raise ValueError("KUBERNETES_ISSUER needs KUBERNETES_JWKS and KUBERNETES_IDENTITIES")
        return self

    @property
    def brought(self) -> Brought | None:
        root, chain, key = self.ca_root_cert_file, self.ca_issuing_chain_file, self.ca_issuing_key_file
        return None if root is None or chain is None or key is None else Brought(root, chain, key)

    @property
    def cluster(self) -> Cluster | None:
        """Whose service accounts may join; None without KUBERNETES_ISSUER."""
        if not self.kubernetes_issuer:
            return None
        accounts = (entry.partition("=") for entry in _split(self.kubernetes_identities))
        return Cluster(
            issuer=self.kubernetes_issuer,
            audience=self.kubernetes_audience,
            keys=self.kubernetes_jwks,
            ca_file=self.kubernetes_ca_file,
            token_file=self.kubernetes_token_file,
            identities={account: identity for account, _, identity in accounts},
        )

    @property
    def joining(self) -> tuple[str, ...]:
        return _split(self.join_identities)

    @property
    def bus_names(self) -> tuple[str, ...]:
        return _split(self.bus_sans)

    @property
    def enrolment_names(self) -> tuple[str, ...]:
        return _split(self.enrolment_sans)


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())

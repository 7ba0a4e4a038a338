"""What may be sent: the bodies of requests, checked as far as their form goes; the owners check the rest."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

type Name = Annotated[str, Field(min_length=1, max_length=100)]


class Body(BaseModel):
    """Fields nobody knows are passed over, as clients of other gateways send some."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_max_length=8192)


class LoginBody(Body):
    """Who logs in."""

    email: Annotated[str, Field(min_length=1, max_length=320)]
    password: Annotated[str, Field(min_length=1, max_length=1024)]


class ScopesBody(Body):
    """What a token is limited to."""

    server_id: Name | None = None
    permissions: Annotated[tuple[Name, ...], Field(max_length=200)] = ()


class TokenBody(Body):
    """A token to mint: how long it lasts is given in seconds or in days."""

    name: Name
    lifetime: Annotated[int, Field(ge=1, le=10 * 365 * 86400, description="in seconds")] | None = None
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    scopes: ScopesBody = ScopesBody()
    teams: Annotated[tuple[Name, ...], Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def _one_lifetime(self) -> "TokenBody":
        if self.lifetime is not None and self.expires_in_days is not None:
            raise ValueError("give lifetime or expires_in_days, not both")
        return self

    @property
    def seconds(self) -> int:
        """How long the token lasts; a day where nothing is said."""
        return self.lifetime or (self.expires_in_days or 1) * 86400


class RevocationBody(Body):
    """Why a token is revoked."""

    reason: Annotated[str, Field(max_length=500)] = ""
